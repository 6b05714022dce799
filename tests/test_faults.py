"""Disks that fail, tear and lie, and members that were away, lost their data, or slept: nothing acknowledged is lost, and
nothing wrong is ever shown.

ZNODEFS_FAULTS_ALL=1: the log is torn at every byte of its last record, and a bit is flipped in every 32nd byte (hours).
"""

import os
import random
import re
import shutil
import signal
import subprocess
import threading

import pytest
from lib.ensemble import BINARY, ENVIRONMENT, ROOT, SANITIZED, run, shell, wait_until
from lib.files import python
from lib.history import Clients
from lib.quorum import fails

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nobody_left")]

ALL = os.environ.get("ZNODEFS_FAULTS_ALL") == "1"
TEARS = 3 if SANITIZED else 6
FLIPS = 6 if SANITIZED else 14
TIMEO = 1
DAMAGED = 3

RECORDS_BEGIN = 4096  # of a segment: see store/txnlog_record.c
RECORD_HEAD = 56

FAULTY_DISK = os.path.join(ROOT, "build", "tests", "faulty_disk.so")


def ours(peer, prefix=""):
    """The paths of what a peer has in its dataDir, in the order of their zxids."""
    folder = os.path.join(peer.data, "znodefs")
    names = [name for name in os.listdir(folder) if re.fullmatch(prefix + r"\.[0-9a-f]+", name)]
    return [os.path.join(folder, name) for name in sorted(names, key=lambda name: int(name.rsplit(".", 1)[1], 16))]


def others(ensemble, peer):
    return [each for each in ensemble if each is not peer]


def wipe(peer):
    shutil.rmtree(os.path.join(peer.data, "znodefs"))


# ---- a disk that fails ----

class FaultyDisk:
    """Of one peer: start it with this, and fail() what tests/faulty_disk.c lists."""

    def __init__(self, peer):
        self.switch = os.path.join(peer.ensemble.dir, f"switch-{peer.sid}")
        asan = ENVIRONMENT["ASAN_OPTIONS"] + ":verify_asan_link_order=0"
        peer.before = ["env", f"LD_PRELOAD={FAULTY_DISK}", f"FAULTY_DISK_SWITCH={self.switch}",
                       f"FAULTY_DISK_FOLDER={peer.data}/znodefs", f"ASAN_OPTIONS={asan}"]

    def fail(self, what):
        with open(self.switch + ".new", "w", encoding="ascii") as switch:
            switch.write(what)
        os.rename(self.switch + ".new", self.switch)

    def mend(self):
        os.unlink(self.switch)


@pytest.fixture(scope="module", autouse=True)
def shim():
    if not os.path.exists(FAULTY_DISK):
        run("make", "-C", ROOT, os.path.relpath(FAULTY_DISK, ROOT), deadline=120)


@pytest.fixture
def faulty(make_ensemble):
    """Three whose disks can be made to fail."""
    ensemble = make_ensemble(3, start=False, options=(f"timeo={TIMEO}",), config={"snapCount": 100})
    ensemble.disks = {peer.sid: FaultyDisk(peer) for peer in ensemble}
    ensemble.start()
    ensemble[1].write("kept", "kept\n")
    ensemble.wait_equal()
    return ensemble


def is_away(peer):
    status = peer.status()
    return (status["disk"], status["state"], status["quorum"]) == ("error", "looking", "no")


def assert_away(peer):
    assert is_away(peer)
    assert peer.status()["readable"] == "yes"
    assert peer.read("kept") == "kept\n"
    assert "Input/output error" in peer.log_text()
    assert "the disk fails. This server has left the ensemble" in peer.log_text()
    assert "Read-only" in fails("mkdir", peer.path("refused"), within=2 * TIMEO)


@pytest.mark.parametrize("whose, what", [("leader", "half log."), ("leader", "fdatasync"), ("follower", "pwrite,fdatasync")])
def test_disk_error(faulty, whose, what):
    """It leaves, stays readable and says why; it is not back before somebody starts it again; nothing is lost."""
    with Clients(faulty, "disk-error") as clients:
        peer = faulty.leader() if whose == "leader" else faulty.followers()[0]
        rest = others(faulty, peer)
        faulty.disks[peer.sid].fail(what)
        wait_until(lambda: is_away(peer), 30, "the peer to leave")
        faulty.wait_quorum(among=rest)
        clients.wait_progress(rest)
        assert_away(peer)
        # The disk is well again; but what it lost meanwhile nobody knows.
        faulty.disks[peer.sid].mend()
        clients.wait_progress(rest)
        assert_away(peer)
        assert "comes back" not in peer.log_text()
        peer.restart()
        assert peer.status()["disk"] == "ok"
        faulty.wait_quorum()
        clients.check()
    assert "refused" not in faulty.assert_same_trees()


def test_disk_errors_everywhere(faulty):
    """Nobody acknowledges anything, everybody shows what there was; restarted they go on with all that was acknowledged."""
    with Clients(faulty, "disk-errors") as clients:
        for disk in faulty.disks.values():
            disk.fail("half,fdatasync")
        wait_until(lambda: sum(is_away(peer) for peer in faulty) >= 2, 30, "a majority to leave")
        for peer in faulty:
            assert peer.read("kept") == "kept\n"
        for peer in faulty:
            faulty.disks[peer.sid].mend()
            peer.restart(wait=False)
        for peer in faulty:
            peer.wait_answering()
        faulty.wait_quorum()
        clients.wait_progress()
        clients.check()
    faulty.assert_same_trees()


@pytest.mark.parametrize("what", ["fdatasync epochs", "rename epochs"])
def test_epochs_that_cannot_be_saved(faulty, what):
    """A server that can't make a new epoch durable takes no part in it."""
    peer, rest = faulty.followers()[0], others(faulty, faulty.followers()[0])
    faulty.disks[peer.sid].fail(what)
    old = faulty.leader()
    old.kill9()
    wait_until(lambda: is_away(peer), 30, "the peer to leave")
    assert_away(peer)
    old.restart()
    faulty.wait_quorum(among=rest, deadline=10)  # at once: less than what initLimit gives one who begins to lead
    rest[0].write("later", "x\n")
    faulty.disks[peer.sid].mend()
    peer.restart()
    faulty.wait_quorum()
    faulty.assert_same_trees()


@pytest.mark.parametrize("what", ["pwrite snapshot", "fdatasync snapshot", "rename snapshot"])
def test_snapshot_that_cannot_be_written(faulty, what):
    """Is tried again later, and no reason to leave: the log has everything."""
    peer = faulty.leader()
    faulty.disks[peer.sid].fail(what)
    python("import sys\nfor n in range(120): open(sys.argv[1], 'w').write(str(n))", peer.path("often"))
    wait_until(lambda: "snapshot failed" in peer.log_text() or "no snapshot was written" in peer.log_text(), 30, "the log")
    assert peer.status()["state"] == "leading" and peer.status()["disk"] == "ok"
    assert not ours(peer, "snapshot")
    faulty.disks[peer.sid].mend()
    python("import sys\nfor n in range(120): open(sys.argv[1], 'w').write(str(n))", peer.path("often"))
    wait_until(lambda: ours(peer, "snapshot"), 30, "a snapshot")
    peer.restart()
    faulty.wait_quorum()
    faulty.assert_same_trees()


# ---- damage ----

class Copy:
    """A stopped peer's files, to be put back after each damage."""

    def __init__(self, peer):
        self.peer = peer
        self.path = os.path.join(peer.ensemble.dir, "copy")
        shutil.copytree(os.path.join(peer.data, "znodefs"), self.path)

    def put_back(self):
        wipe(self.peer)
        shutil.copytree(self.path, os.path.join(self.peer.data, "znodefs"))


def last_record(path):
    """Where the last record of a segment begins and ends."""
    with open(path, "rb") as segment:
        data = segment.read()
    begin, end = None, RECORDS_BEGIN
    while data[end:end + 4] == b"ZREC":
        begin, end = end, end + (RECORD_HEAD + int.from_bytes(data[end + 4:end + 8], "little") + 7 & ~7)
    return begin, end


@pytest.fixture
def damaged(make_ensemble):
    """One of three is stopped, after use that left snapshots and segments; the others go on."""
    ensemble = make_ensemble(3, config={"snapCount": 20, "preAllocSize": 64, "autopurge.snapRetainCount": 50})
    shell(f"cd {ensemble[1].mount} && mkdir -p a/b && for i in $(seq 30); do echo $i > a/b/$i; done; ln -s a l; "
          "mv a/b/1 'a/b/one two'; printf x >> a/b/2; rm a/b/3")
    ensemble.wait_equal()
    ensemble.victim = ensemble.followers()[0]
    ensemble.victim.restart()
    ensemble.wait_quorum()
    ensemble[1].write("last", "a last record\n")
    ensemble.wait_equal()
    ensemble.victim.stop()
    return ensemble


def comes_back(ensemble, peer):
    ensemble.wait_quorum()
    ensemble.wait_equal()
    assert peer.read("last") == "a last record\n"


def test_log_torn_anywhere_in_its_last_record(damaged):
    """What was not written is cut off, or still zero. The peer says so, gets the record from the others, and has it."""
    peer = damaged.victim
    copy = Copy(peer)
    path = ours(peer, "log")[-1]
    begin, end = last_record(path)
    with open(path, "rb") as segment:
        whole = segment.read()
    places = range(begin, end) if ALL else sorted({begin, begin + 1, end - 9} |
                                                  set(random.Random(1).sample(range(begin, end), TEARS - 3)))
    for number, at in enumerate(places):
        copy.put_back()
        with open(path, "wb") as segment:
            segment.write(whole[:at] + (bytes(len(whole) - at) if number % 2 else b""))
        peer.start()
        comes_back(damaged, peer)
        peer.stop()
    peer.start()
    damaged.wait_quorum()
    damaged.assert_same_trees()


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << at % 8]))


def places_to_flip(peer):
    """Of each file so many of those that say something."""
    rng = random.Random(7)
    paths = ours(peer, "log") + ours(peer, "snapshot") + [os.path.join(peer.data, "znodefs", "epochs")]
    for path in paths:
        used = last_record(path)[1] if "/log." in path else os.path.getsize(path)
        if ALL:
            yield from ((path, at) for at in range(0, used, 32))
            continue
        for _ in range(max(1, FLIPS // len(paths))):
            yield path, rng.randrange(used)
        if "/log." in path:
            yield path, rng.randrange(RECORDS_BEGIN, used)


def test_a_bit_flipped_anywhere(damaged):
    """A start refuses, naming file and offset, or recovers what is right."""
    peer = damaged.victim
    copy = Copy(peer)
    outcomes = {"refused": 0, "right": 0}
    for path, at in places_to_flip(peer):
        copy.put_back()
        flip(path, at)
        said_before = len(peer.log_text())
        peer.start(wait=False)

        def decided():
            if peer.process.poll() is not None:
                return "refused"
            return "right" if peer.status().get("quorum") == "yes" else None

        place = f"{os.path.basename(path)} at {at}"
        outcome = wait_until(decided, 30, f"a start with {place} to succeed or not")
        said = peer.log_text()[said_before:]
        outcomes[outcome] += 1
        if outcome == "refused":
            assert peer.wait_ended() == DAMAGED, place
            assert re.search(re.escape(os.path.basename(path)) + r".* at offset \d+", said) or "/epochs" in path, said
            assert os.path.basename(path) in said, said
            continue
        comes_back(damaged, peer)
        trees = damaged.trees()
        assert len(set(trees.values())) == 1, place
        peer.stop()
    print(outcomes)
    assert min(outcomes.values()) > 0


# ---- members that were away ----

def write_megabytes(peer, end):
    """A few at a time, so that snapshots stay small."""
    while not end.is_set():
        shell(f"for i in 1 2 3 4; do head -c 1000000 /dev/urandom > {peer.path('big')}$i; done", deadline=60)


def test_away_longer_than_the_log_is_kept(make_ensemble):
    ensemble = make_ensemble(3, config={"snapSizeLimitInKb": 8000, "autopurge.snapRetainCount": 3})
    ensemble[1].write("old", "old\n")
    ensemble.wait_equal()
    away = ensemble.followers()[0]
    away.stop()
    rest = others(ensemble, away)
    first_kept = {peer.sid: ours(peer, "log")[0] for peer in rest}
    run("rm", rest[0].path("old"))
    end = threading.Event()
    writer = threading.Thread(target=write_megabytes, args=(rest[0], end))
    writer.start()
    try:
        wait_until(lambda: all(ours(peer, "log")[0] != first_kept[peer.sid] for peer in rest), 60, "old segments to go")
    finally:
        end.set()
        writer.join()
    away.start()
    ensemble.wait_quorum()
    assert "takes over a snapshot" in away.log_text()
    assert "old" not in ensemble.assert_same_trees().split()
    away.restart()
    ensemble.wait_quorum()
    ensemble.assert_same_trees()


def test_two_wiped_at_once(make_ensemble):
    """Of three: they do not outvote the third, who shows what there is until it goes on alone and takes them in."""
    ensemble = make_ensemble(3, options=(f"timeo={TIMEO}",))
    ensemble[1].write("kept", "kept\n")
    ensemble[1].write("after", "so that it is logged that what was before is committed\n")
    ensemble.wait_equal()
    third = ensemble[1]
    wiped = others(ensemble, third)
    for peer in wiped:
        peer.kill9()
        wipe(peer)
    for peer in wiped:
        peer.restart()
    for peer in wiped:
        assert "Input/output error" in fails("ls", peer.mount, within=TIMEO)
        assert peer.status()["quorum"] == "no"
    assert third.read("kept") == "kept\n"
    assert third.status()["quorum"] == "no"
    third.restart()
    assert wait_until(lambda: third.read("kept"), 20, "the last state") == "kept\n"
    assert third.status()["quorum"] == "no"
    third.stop()
    alone = subprocess.Popen([BINARY, "-f", "-o", f"dataDir={third.data}", "standalone", third.mount],
                             stdin=subprocess.DEVNULL, env=ENVIRONMENT)
    try:
        wait_until(lambda: third.status()["quorum"] == "yes", 30, "the third to go on alone")
        third.write("alone", "alone\n")
    finally:
        alone.terminate()
        assert alone.wait(30) == 0
    third.start()
    ensemble.wait_quorum()
    assert wiped[0].read("kept") == "kept\n" and wiped[1].read("alone") == "alone\n"
    ensemble.assert_same_trees()


def test_two_of_five_wiped_at_once(make_ensemble):
    """The majority has the data: they are synchronized from it, whoever led before."""
    ensemble = make_ensemble(5)
    with Clients(ensemble, "two-of-five") as clients:
        wiped = [ensemble.leader(), ensemble.followers()[0]]
        rest = [peer for peer in ensemble if peer not in wiped]
        for peer in wiped:
            peer.kill9()
            wipe(peer)
        clients.wait_progress(rest)
        for peer in wiped:
            peer.restart(wait=False)
        for peer in wiped:
            peer.wait_answering()
        ensemble.wait_quorum()
        clients.wait_progress()
        # Now they count: without two of the others.
        for peer in rest[:2]:
            peer.kill9()
        ensemble.wait_quorum()
        clients.wait_progress(wiped + rest[2:])
        for peer in rest[:2]:
            peer.restart()
        ensemble.wait_quorum()
        clients.check()
    ensemble.assert_same_trees()


def test_everybody_sleeps(three):
    """All are stopped and woken in turn, also two at a time: time has jumped for each of them."""
    with Clients(three, "sleep") as clients:
        for sleepers in ((1,), (2,), (3,), (1, 2), (2, 3), (1, 2, 3)):
            for sid in sleepers:
                three[sid].send(signal.SIGSTOP)
            try:
                if len(sleepers) == 1:
                    clients.wait_progress([peer for peer in three if peer.sid not in sleepers])
                elif len(sleepers) == 2:
                    awake = next(peer for peer in three if peer.sid not in sleepers)
                    wait_until(lambda each=awake: each.status()["quorum"] == "no", 20, "the loss to be told")
            finally:
                for sid in sleepers:
                    three[sid].send(signal.SIGCONT)
            three.wait_quorum()
            clients.wait_progress()
        clients.check()
    three.assert_same_trees()
