"""What happens without a quorum, and when it comes back (reads, changes, closes, barriers, restarts)."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from lib.ensemble import BINARY, ENVIRONMENT, SANITIZED, is_mounted, run, shell, wait_until
from lib.files import ended, spawn
from lib.quorum import DIRECT, FSYNC, SLACK, fails, give_back, lose, wait_lost, waiting

pytestmark = pytest.mark.root

TIMEO = 1
BLOCKED = 200

@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
@pytest.mark.parametrize("survivor", ["leader", "follower"])
def test_reads_go_on_and_changes_fail(make_ensemble, survivor, number):
    ensemble = make_ensemble(3, options=(f"timeo={TIMEO}",))
    leader = ensemble.leader()
    alone = leader if survivor == "leader" else ensemble.followers()[0]
    others = [peer for peer in ensemble if peer is not alone]
    shell(f"cd {alone.mount} && echo x > file && mkdir dir")
    ensemble.wait_equal()

    lose(others, number)
    wait_lost(alone)
    assert shell(f"cd {alone.mount} && cat file && ls", deadline=5) == "x\ndir\nfile\n"
    assert float(alone.status()["quorum_lost_s"]) >= 0
    for argv in (("mkdir", alone.path("new")), ("rm", alone.path("file")), ("touch", alone.path("other")),
                 ("mv", alone.path("file"), alone.path("moved")), ("chmod", "600", alone.path("file")),
                 ("bash", "-c", f"echo y >> {alone.path('file')}")):
        assert "Read-only file system" in fails(*argv, within=TIMEO), argv
    for code in (FSYNC, DIRECT):
        assert "Errno 5" in fails(sys.executable, "-c", code, alone.path("file"), within=TIMEO)
    assert "Errno 5" in fails(sys.executable, "-c", FSYNC, alone.path("dir"), within=TIMEO)
    assert shell(f"cd {alone.mount} && cat file && ls", deadline=5) == "x\ndir\nfile\n"

    give_back(others, number)
    ensemble.wait_quorum()
    run("mkdir", alone.path("new"))
    run(sys.executable, "-c", FSYNC, alone.path("dir"))
    run(sys.executable, "-c", DIRECT, alone.path("file"))
    ensemble.assert_same_trees()
    for peer in ensemble:
        assert shell(f"cd {peer.mount} && ls") == "dir\nfile\nnew\n"


def test_strict(make_ensemble):
    ensemble = make_ensemble(3, options=("strict", f"timeo={TIMEO}"))
    shell(f"echo x > {ensemble[1].path('file')}")
    ensemble.wait_equal()
    lose([ensemble[2], ensemble[3]], signal.SIGSTOP)
    wait_lost(ensemble[1])
    for argv in (("cat", ensemble[1].path("file")), ("stat", ensemble[1].path("file")), ("ls", ensemble[1].mount)):
        assert "Input/output error" in fails(*argv, within=0), argv
    give_back([ensemble[2], ensemble[3]], signal.SIGSTOP)
    ensemble.wait_quorum()
    assert ensemble[1].read("file") == "x\n"


def test_close_waits_for_the_quorum(make_ensemble):
    ensemble = make_ensemble(3, options=(f"timeo={TIMEO}",))
    alone, others = ensemble[1], [ensemble[2], ensemble[3]]
    shell(f"cd {alone.mount} && echo old > file && echo old > atomic && echo old > left")
    ensemble.wait_equal()
    lose(others, signal.SIGSTOP)
    wait_lost(alone)
    writer = spawn("bash", "-c", f"echo new > {alone.path('file')}")
    wait_until(lambda: waiting(alone) == 1, 10, "the close to wait")
    # An fsync with a draft fails and keeps it: close tries again.
    code = ("import errno, os, sys\nfd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)\nos.write(fd, b'new\\n')\n"
            "try:\n    os.fsync(fd)\nexcept OSError as error:\n    assert error.errno == errno.EROFS, error\n"
            "else:\n    assert False\nos.close(fd)\n")
    syncer = spawn(sys.executable, "-c", code, alone.path("atomic"))
    wait_until(lambda: float(alone.status()["quorum_lost_s"]) > 2 * TIMEO and waiting(alone) == 2, 20,
               "both to wait for longer than timeo")
    assert writer.poll() is None and syncer.poll() is None
    assert shell(f"cat {alone.path('file')} {alone.path('atomic')}") == "old\nold\n"
    give_back(others, signal.SIGSTOP)
    assert ended(writer) == (0, "")
    assert ended(syncer) == (0, "")
    ensemble.wait_equal()
    for peer in ensemble:
        assert shell(f"cd {peer.mount} && cat file atomic") == "new\nnew\n"
        assert run("getfattr", "--only-values", "-n", "znode.version", peer.path("file")) == "2"


def test_soft_close_fails(make_ensemble):
    ensemble = make_ensemble(3, options=("soft", f"timeo={TIMEO}"))
    alone, others = ensemble[1], [ensemble[2], ensemble[3]]
    shell(f"echo old > {alone.path('file')}")
    ensemble.wait_equal()
    lose(others, signal.SIGSTOP)
    wait_lost(alone)
    assert "Errno 110" in fails(sys.executable, "-c", "import os, sys\nfd = os.open(sys.argv[1], os.O_WRONLY)\n"
                                "os.write(fd, b'new')\nos.close(fd)", alone.path("file"), within=TIMEO)
    assert alone.read("file") == "old\n"
    give_back(others, signal.SIGSTOP)
    ensemble.wait_quorum()
    shell(f"echo newer > {alone.path('file')}")
    assert alone.read("file") == "newer\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_who_waits_can_be_killed(make_ensemble, number):
    """Long before timeo. The signals before SIGKILL change nothing for a change, but do not make it immune either."""
    ensemble = make_ensemble(3, options=("timeo=60",))
    alone, others = ensemble[1], [ensemble[2], ensemble[3]]
    shell(f"cd {alone.mount} && echo old > file && mkdir d1 d2")
    ensemble.wait_equal()
    lose(others, signal.SIGSTOP)
    wait_lost(alone)
    processes = [spawn("bash", "-c", f"echo new > {alone.path('file')}"), spawn("mkdir", alone.path("d1/new")),
                 spawn("bash", "-c", f"echo new > {alone.path('d2/new')}"),
                 spawn(sys.executable, "-c", FSYNC, alone.path("file"))]
    wait_until(lambda: waiting(alone) == len(processes), 10, "all to wait")
    for process in processes:
        process.send_signal(number)
    if number != signal.SIGKILL:
        assert ended(processes[3], 10)[0] != 0  # a barrier can be interrupted by anything
        for process in processes:
            process.send_signal(signal.SIGKILL)
    for process in processes:
        ended(process, 10)
    alone.status(deadline=5)
    assert shell(f"ls {alone.mount}", deadline=5) == "d1\nd2\nfile\n"
    give_back(others, signal.SIGSTOP)
    ensemble.wait_quorum()
    # The closed draft is published: nobody waits for that any more, but whoever reads then sees it.
    wait_until(lambda: alone.read("file") == "new\n", 20, "the draft to be published")
    ensemble.assert_same_trees()


def test_reads_do_not_wait_for_a_publishing_that_cannot_be(make_ensemble):
    """Whoever reads a file whose writer was killed in its close waits for that, but not once timeo is over."""
    ensemble = make_ensemble(3, options=(f"timeo={TIMEO}",))
    alone, others = ensemble[1], [ensemble[2], ensemble[3]]
    shell(f"echo old > {alone.path('file')}")
    ensemble.wait_equal()
    lose(others, signal.SIGSTOP)
    wait_until(lambda: float(alone.status()["quorum_lost_s"]) > TIMEO, 10, "timeo to be over")
    writer = spawn("bash", "-c", f"echo new > {alone.path('file')}")
    wait_until(lambda: waiting(alone) == 1, 10, "the close to wait")
    writer.kill()
    ended(writer, 10)
    begun = time.monotonic()
    for _ in range(5):
        assert alone.read("file") == "old\n"
    assert time.monotonic() - begun < TIMEO + SLACK
    give_back(others, signal.SIGSTOP)
    wait_until(lambda: alone.read("file") == "new\n", 20, "the draft to be published")


def test_all_who_wait_during_an_election_are_answered(make_ensemble):
    ensemble = make_ensemble(3)
    run("touch", ensemble[1].path("appended"))
    ensemble.wait_equal()
    leader = ensemble.leader()
    others = ensemble.followers()
    leader.kill9()
    processes = []
    for number in range(BLOCKED):
        peer = others[number % 2]
        script = (f"echo v > {peer.path(f'f{number}')}", f"mkdir {peer.path(f'd{number}')}",
                  f"echo {number} >> {peer.path('appended')}", f"ln -s x {peer.path(f'l{number}')}",
                  f"sync {peer.path('appended')}")[number % 5]
        processes.append(spawn("bash", "-c", script))
    for process in processes:
        assert ended(process) == (0, "")
    appended = sorted(map(int, others[0].read("appended").split()))
    assert appended == [number for number in range(BLOCKED) if number % 5 == 2]
    names = run("ls", others[0].mount).split()
    assert len(names) == 1 + 3 * BLOCKED // 5
    leader.restart()
    ensemble.assert_same_trees()


def test_status_can_be_polled(make_ensemble):
    """poll(2) on status wakes when the quorum goes, and again when it comes."""
    ensemble = make_ensemble(3, options=(f"timeo={TIMEO}",))
    code = ("import os, select, sys\nfd = os.open(sys.argv[1], os.O_RDONLY)\npoll = select.poll()\n"
            "poll.register(fd, select.POLLPRI)\n"
            "for wanted in sys.argv[2:]:\n"
            "    while b'quorum\\t' + wanted.encode() not in os.pread(fd, 65536, 0):\n"
            "        print('waits', flush=True)\n"
            "        assert poll.poll(20000), 'not woken'\n"
            "    print(wanted, flush=True)\n")
    poller = spawn(sys.executable, "-c", code, ensemble[1].path(".znodefs/status"), "yes", "no", "yes")
    assert poller.stdout.readline() == "yes\n"
    assert poller.stdout.readline() == "waits\n"
    lose([ensemble[2], ensemble[3]], signal.SIGSTOP)
    while poller.stdout.readline() not in ("no\n", ""):
        pass
    give_back([ensemble[2], ensemble[3]], signal.SIGSTOP)
    assert ended(poller) == (0, "")


# ---- starting alone ----

@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps what is freed")
def test_polling_again_and_again_takes_no_memory(make_ensemble):
    """However often status is polled while nothing changes: the daemon remembers one who waits for each open file."""
    peer = make_ensemble(1)[1]
    code = ("import os, select, sys\nfd = os.open(sys.argv[1], os.O_RDONLY)\nepoll = select.epoll()\n"
            "for _ in range(40000):\n    epoll.register(fd, select.EPOLLPRI)\n    epoll.unregister(fd)\n")
    path = peer.path(".znodefs/status")
    run(sys.executable, "-c", code.replace("40000", "1000"), path, deadline=120)
    before = resident_kb(peer.process.pid)
    run(sys.executable, "-c", code, path, deadline=120)
    assert resident_kb(peer.process.pid) - before < 1500


def resident_kb(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def test_restarted_alone(make_ensemble):
    """status at once, and after timeo the state that was known to be committed."""
    ensemble = make_ensemble(3, options=("timeo=3",))
    shell(f"cd {ensemble[1].mount} && echo x > file && echo y > next && echo z > last")
    ensemble.wait_equal()
    for peer in ensemble:
        peer.stop()
    begun = time.monotonic()
    ensemble[1].start()
    assert ensemble[1].status()["readable"] == "no", f"after {time.monotonic() - begun:.1f} s"
    assert ensemble[1].read("file") == "x\n"
    assert time.monotonic() - begun >= 2.5, "read before timeo was over"
    assert ensemble[1].status()["quorum"] == "no"
    assert ensemble[1].read("file", deadline=1 + SLACK) == "x\n"
    ensemble[2].start()
    ensemble.wait_quorum()
    assert shell(f"cd {ensemble[1].mount} && cat file next last") == "x\ny\nz\n"


def test_empty_and_alone(make_ensemble):
    """Nothing but .znodefs: an empty tree would be a lie, and rsync --delete would obey it."""
    ensemble = make_ensemble(3, start=False, options=(f"timeo={TIMEO}",))
    alone = ensemble[1]
    alone.start()
    assert alone.status()["quorum"] == "no"
    for argv in (("ls", alone.mount), ("cat", alone.path("x")), ("stat", alone.path("x")), ("mkdir", alone.path("x")),
                 ("find", alone.mount)):
        assert "Input/output error" in fails(*argv, within=2 * TIMEO), argv
    assert "looking" in run("cat", alone.path(".znodefs/status"))
    # The log says what is missing, and the mend.
    wait_until(lambda: "not connected: 2, 3; this server was never synchronized" in alone.log_text(), 15, "the reason")
    ensemble[2].start()
    ensemble[3].start()
    ensemble.wait_quorum()
    assert run("ls", alone.mount) == ""
    run("mkdir", alone.path("x"))


# ---- members that have lost their data ----

def wipe(peer):
    shutil.rmtree(os.path.join(peer.data, "znodefs"))


def snapshots(peer):
    return [name for name in os.listdir(os.path.join(peer.data, "znodefs")) if name.startswith("snapshot.")]


@pytest.mark.parametrize("snap", [False, True])
def test_wiped_member(make_ensemble, snap):
    """It is synchronized again: by what the leader still has in its log, or else by a snapshot."""
    ensemble = make_ensemble(3, config={"snapCount": 20} if snap else {})
    shell(f"cd {ensemble[1].mount} && for i in $(seq 30); do echo $i > f$i; done; mkdir -p d/e && mv f1 d/e/f1 && "
          "ln -s f2 link && setfattr -n user.a -v b f2 && rm f3")
    ensemble.wait_equal()
    wiped = ensemble.followers()[0]
    wiped.stop()
    wipe(wiped)
    if snap:
        # A restarted leader has in memory what its log holds behind its newest snapshot.
        others = [peer for peer in ensemble if peer is not wiped]
        assert all(snapshots(peer) for peer in others)
        for peer in others:
            peer.stop()
        for peer in others:
            peer.start(wait=False)
        ensemble.wait_quorum(among=others)
    wiped.start()
    ensemble.wait_quorum()
    if snap:
        assert snapshots(wiped)
    shell(f"echo later > {wiped.path('later')}")
    ensemble.assert_same_trees()
    # What it was given is on its disk.
    wiped.restart()
    wait_until(lambda: wiped.read("later") == "later\n", 20, "the restarted member")
    ensemble.assert_same_trees()


def test_two_wiped_members_do_not_outvote_the_third(make_ensemble):
    ensemble = make_ensemble(3, options=(f"timeo={TIMEO}",))
    shell(f"echo x > {ensemble[1].path('file')}")
    ensemble.wait_equal()
    for peer in ensemble:
        peer.stop()
    for sid in (2, 3):
        wipe(ensemble[sid])
        ensemble[sid].start()
    # Neither has a vote, and an empty ensemble forms only when all are empty and up.
    for sid in (2, 3):
        assert "Input/output error" in fails("ls", ensemble[sid].mount, within=TIMEO)
        assert ensemble[sid].status()["quorum"] == "no"


def test_most_members_lost(make_ensemble):
    """README's "When a member is lost": the survivor goes on as an ensemble of one, and the empty ones join it again."""
    ensemble = make_ensemble(3, options=(f"timeo={TIMEO}",))
    shell(f"echo kept > {ensemble[1].path('file')}")
    ensemble.wait_equal()
    for peer in ensemble:
        peer.stop()
    wipe(ensemble[1])
    wipe(ensemble[2])
    survivor = ensemble[3]
    alone = subprocess.Popen([BINARY, "-f", "-o", f"dataDir={survivor.data}", "standalone", survivor.mount], env=ENVIRONMENT)
    try:
        assert wait_until(lambda: is_mounted(survivor.mount) and survivor.read("file"), 20, "the survivor") == "kept\n"
        shell(f"echo more > {survivor.path('alone')}")
    finally:
        alone.terminate()
        assert alone.wait(20) == 0
    for peer in ensemble:
        peer.start()
    ensemble.wait_quorum()
    assert shell(f"cd {ensemble[1].mount} && cat file alone") == "kept\nmore\n"
    ensemble.assert_same_trees()
