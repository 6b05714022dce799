"""A disk that is full, and has room again: on a leader, a follower, all, and from the start. Reads go on, status and log
say so, and the peer comes back by itself."""

import os
import subprocess
import sys

import pytest
from lib.ensemble import run, wait_until

pytestmark = pytest.mark.root

DISK_MB = 48
TIMEO = 2


class SmallDisk:
    """A tmpfs below a peer's dataDir, and a file in it that takes all the room."""

    def __init__(self, peer):
        self.peer = peer
        run("mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "none", peer.data)
        self.filler = os.path.join(peer.data, "filler")
        with open(os.path.join(peer.data, "myid"), "w", encoding="ascii") as myid:
            myid.write(f"{peer.sid}\n")

    def fill(self, leave_kb=0):
        with open(self.filler, "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(65536))
            except OSError:
                pass
            os.ftruncate(filler.fileno(), max(0, os.fstat(filler.fileno()).st_size - leave_kb * 1024))

    def make_room(self):
        os.remove(self.filler)

    def take_away(self):
        subprocess.run(["umount", "-l", self.peer.data], check=False)


@pytest.fixture
def disks(request):
    """Makes dataDirs small, before the ensemble starts; gives the disks back last of all."""
    made = []

    def make(peer):
        made.append(SmallDisk(peer))
        return made[-1]

    yield make
    for peer in {disk.peer.ensemble for disk in made}:
        peer.clean_up()
    for disk in made:
        disk.take_away()


def small_ensemble(make_ensemble, disks, **more):
    ensemble = make_ensemble(3, start=False, options=(f"timeo={TIMEO}",), config={"preAllocSize": 64}, **more)
    return ensemble, {peer.sid: disks(peer) for peer in ensemble}


def write_until(ensemble, peer, condition):
    """Writes through `peer` until the condition holds; whatever a write says."""
    script = "import os, sys\nfor n in range(2000):\n  open(sys.argv[1], 'wb').write(os.urandom(60000))\n"
    writer = subprocess.Popen([sys.executable, "-c", script, peer.path("written")], stderr=subprocess.DEVNULL)
    try:
        return wait_until(condition, 60, "what the writes should lead to")
    finally:
        writer.kill()
        writer.wait(30)


def is_full(peer):
    status = peer.status()
    return status["disk"] == "full" and status["state"] == "looking"


def assert_away(peer):
    status = peer.status()
    assert (status["disk"], status["state"], status["quorum"], status["readable"]) == ("full", "looking", "no", "yes")
    assert "the disk is full" in peer.log_text()
    assert "Make room for dataDir" in peer.log_text()
    assert peer.read("kept") == "kept\n"
    assert "kept" in run("ls", peer.mount)


def comes_back(ensemble, peer, disk):
    disk.make_room()
    wait_until(lambda: peer.status()["quorum"] == "yes", 60, f"server {peer.sid} to come back")
    assert peer.status()["disk"] == "ok"
    assert "comes back" in peer.log_text()
    run("sh", "-c", f"echo after > {peer.path('after')}")
    ensemble.wait_equal()


@pytest.mark.parametrize("whose", ["leader", "follower"])
def test_full_and_room_again(make_ensemble, disks, whose):
    ensemble, small = small_ensemble(make_ensemble, disks)
    ensemble.start()
    run("sh", "-c", f"echo kept > {ensemble[1].path('kept')}")
    ensemble.wait_equal()
    full = ensemble.leader() if whose == "leader" else ensemble.followers()[0]
    others = [peer for peer in ensemble if peer is not full]
    small[full.sid].fill(leave_kb=200)
    write_until(ensemble, others[0], lambda: is_full(full))
    ensemble.wait_quorum(among=others)
    assert_away(full)
    # The others go on meanwhile, and it keeps what it showed.
    run("sh", "-c", f"echo meanwhile > {others[0].path('meanwhile')}")
    failed = run("mkdir", full.path("refused"), check=False)
    assert failed.returncode != 0 and "Read-only" in failed.stderr
    comes_back(ensemble, full, small[full.sid])
    assert full.read("meanwhile") == "meanwhile\n"
    assert full.read("kept") == "kept\n"
    full.restart()
    ensemble.wait_quorum()
    ensemble.assert_same_trees()


def test_all_full(make_ensemble, disks):
    """Nobody acknowledges anything, everybody shows what there was; with room for two they go on."""
    ensemble, small = small_ensemble(make_ensemble, disks)
    ensemble.start()
    run("sh", "-c", f"echo kept > {ensemble[1].path('kept')}")
    ensemble.wait_equal()
    for disk in small.values():
        disk.fill(leave_kb=100)
    write_until(ensemble, ensemble[1], lambda: sum(is_full(peer) for peer in ensemble) >= 2)
    for peer in ensemble:
        assert peer.read("kept") == "kept\n"
        assert peer.status()["quorum"] == "no"
    for peer in ensemble:
        if os.path.exists(small[peer.sid].filler):
            small[peer.sid].make_room()
    ensemble.wait_quorum()
    run("sh", "-c", f"echo after > {ensemble[2].path('after')}")
    ensemble.assert_same_trees()


def test_full_from_the_start(make_ensemble, disks):
    ensemble, small = small_ensemble(make_ensemble, disks)
    ensemble.start()
    run("sh", "-c", f"echo kept > {ensemble[1].path('kept')}")
    # What follows says on disk that it is committed: without a leader no more is shown than that.
    run("sh", "-c", f"echo next > {ensemble[1].path('next')}")
    ensemble.wait_equal()
    full = ensemble.followers()[0]
    full.stop()
    small[full.sid].fill()
    others = [peer for peer in ensemble if peer is not full]
    for number in range(20):
        run("sh", "-c", f"echo {number} > {others[0].path('more')}")
    full.start()
    wait_until(lambda: full.status()["disk"] == "full", 30, "status to say so")
    wait_until(lambda: full.status()["readable"] == "yes", 30, "the last state")
    assert full.read("kept") == "kept\n"
    comes_back(ensemble, full, small[full.sid])
    assert full.read("more") == "19\n"
