"""Who waits without a quorum, for how long, what they are told, and who can be killed (design: 2.3)."""

import signal
import sys
import time

import pytest
from lib.ensemble import run, shell, wait_until
from lib.files import OLD, ended, spawn, version
from lib.quorum import DIRECT, FSYNC, SLACK, give_back, lose, wait_lost, waiting

pytestmark = pytest.mark.root

TIMEO = 1
EIO, ETIMEDOUT = 5, 110

TRUNCATE = "import os, sys; os.truncate(sys.argv[1], 1)"


@pytest.fixture
def alone(make_ensemble):
    """Makes an ensemble with options, a file `file` and a folder `dir`; server 1 of it."""

    def make(*options):
        ensemble = make_ensemble(3, options=options)
        shell(f"cd {ensemble[1].mount} && printf '{OLD}' > file && mkdir dir")
        ensemble.wait_equal()
        return ensemble[1]

    return make


def others(peer):
    return [other for other in peer.ensemble if other is not peer]


def wait_for_calls(peer, number):
    wait_until(lambda: waiting(peer) == number, 20, f"{number} calls to wait")


# ---- errors ----

@pytest.mark.parametrize("role", ["leader", "follower"])
def test_handed_over_may_still_happen_at_most_once(make_ensemble, role):
    """A change that a leader has been given when the quorum goes: ETIMEDOUT, not EROFS."""
    ensemble = make_ensemble(3, options=(f"timeo={TIMEO}",))
    peer = ensemble.leader() if role == "leader" else ensemble.followers()[0]
    shell(f"cd {peer.mount} && : > appended && : > synced")
    ensemble.wait_equal()
    lose(others(peer), signal.SIGSTOP)
    begun = time.monotonic()
    callers = {
        "append": spawn(sys.executable, "-c", "import os, sys\nos.write(os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND),"
                        " b'x\\n')", peer.path("appended")),
        "write": spawn(sys.executable, "-c", "import os, sys\nos.write(os.open(sys.argv[1], os.O_WRONLY | os.O_SYNC),"
                       " b'x\\n')", peer.path("synced")),
        "mkdir": spawn("mkdir", peer.path("made")),
    }
    said = {what: ended(caller)[1] for what, caller in callers.items()}
    assert time.monotonic() - begun < 2 * TIMEO + 2 + SLACK
    assert "Errno 110" in said["append"] and "Errno 110" in said["write"], said
    assert "Connection timed out" in said["mkdir"], said
    give_back(others(peer), signal.SIGSTOP)
    ensemble.wait_quorum()
    run("sync", peer.mount)
    assert peer.read("appended") in ("", "x\n")
    assert peer.read("synced") in ("", "x\n")
    assert run("ls", peer.mount) in ("appended\nsynced\n", "appended\nmade\nsynced\n")
    ensemble.assert_same_trees()


def test_strict(alone, held):
    """Every way to read is refused, also through what was open; .znodefs is not, and nothing hangs."""
    peer = alone("strict", f"timeo={TIMEO}")
    shell(f"cd {peer.mount} && ln -s file link && setfattr -n user.a -v b file")
    process = held()
    assert process.do(f"fd = os.open({peer.path('file')!r}, os.O_RDWR); d = os.open({peer.path('dir')!r}, 0)") == 0
    lose(others(peer), signal.SIGSTOP)
    wait_lost(peer)
    for line in ("os.pread(fd, 10, 0)", "os.fstat(fd)", "os.listdir(d)", "os.fsync(fd)", "os.getxattr(fd, 'user.a')",
                 f"os.readlink({peer.path('link')!r})", f"os.stat({peer.path('file')!r})",
                 f"os.statvfs({peer.mount!r})"):
        assert process.do(line) == EIO, line
    assert "quorum\tno" in run("cat", peer.path(".znodefs/status"))
    assert "following" in peer.metrics() or "znodefs_quorum 0" in peer.metrics()
    assert process.do("os.close(fd); os.close(d)") == 0
    give_back(others(peer), signal.SIGSTOP)
    peer.ensemble.wait_quorum()
    assert peer.read("link") == OLD


def test_soft_tells_who_closes_or_else_the_status(alone, held):
    """A close that publishes fails with ETIMEDOUT; a publishing after the last close has nobody to tell but status and
    log, and whoever polls status wakes."""
    peer = alone("soft", f"timeo={TIMEO}")
    assert peer.status()["publish_error"] == "-"
    opener, heir, poller = held(), held(), held()
    path = peer.path("file")
    assert poller.do(f"import select; fd = os.open({peer.path('.znodefs/status')!r}, 0); p = select.poll()") == 0
    assert poller.do("p.register(fd, select.POLLPRI)") == 0
    for each in (opener, heir):
        assert each.do("import socket") == 0
    # The heir gets the descriptor, and writes once its opener has closed.
    name = "znodefs-test-" + str(opener.process.pid)
    assert heir.do(f"s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind('\\0{name}')") == 0
    assert opener.do("s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)") == 0
    assert opener.do(f"fd = os.open({path!r}, os.O_WRONLY | os.O_TRUNC); s.connect('\\0{name}')") == 0
    assert opener.do("socket.send_fds(s, [b'x'], [fd])") == 0
    assert heir.do("fd = socket.recv_fds(s, 1, 1)[1][0]") == 0
    lose(others(peer), signal.SIGSTOP)
    wait_lost(peer)
    assert opener.do("os.close(fd)") == ETIMEDOUT
    assert poller.do("os.pread(fd, 65536, 0)") == 0
    assert heir.do("os.write(fd, b'late'); os.close(fd)") == 0
    assert poller.do("exec(\"while b'inode' not in os.pread(fd, 65536, 0):\\n    assert p.poll(20000), 'not woken'\")") == 0
    ino = run("stat", "-c", "%i", path).strip()
    wait_until(lambda: f"inode {ino}: " in peer.status()["publish_error"], 20, "the error in status")
    assert f"publish inode {ino} after its close: " in peer.log_text()
    assert peer.read("file") == OLD
    give_back(others(peer), signal.SIGSTOP)
    peer.ensemble.wait_quorum()


# ---- closes ----

def test_all_closes_wait(alone, held):
    """One with another descriptor of the file open, and the copies of a descriptor that threads close at once."""
    peer = alone(f"timeo={TIMEO}")
    path = peer.path("file")
    locker, threads = held(), held()
    assert locker.do(f"lock = os.open({path!r}, os.O_RDWR); fd = os.open({path!r}, os.O_WRONLY | os.O_TRUNC)") == 0
    assert locker.do("os.write(fd, b'with a lock')") == 0
    assert threads.do("import threading") == 0
    assert threads.do(f"a = os.open({peer.path('dir/file')!r}, os.O_WRONLY | os.O_CREAT); b = os.dup(a)") == 0
    assert threads.do("os.write(a, b'by threads')") == 0
    lose(others(peer), signal.SIGSTOP)
    wait_lost(peer)
    locker.begin("os.close(fd)")
    wait_for_calls(peer, 1)
    # Both descriptors are gone by the time the daemon sees the first FLUSH.
    assert threads.do("ts = [threading.Thread(target=os.close, args=(fd,)) for fd in (a, b)]") == 0
    peer.send(signal.SIGSTOP)
    assert threads.do("for t in ts: t.start()") == 0
    fds = f"/proc/{threads.process.pid}/fd"
    wait_until(lambda: peer.mount not in shell(f"for fd in {fds}/*; do readlink $fd || true; done"), 20,
               "both to be closed")
    peer.send(signal.SIGCONT)
    wait_for_calls(peer, 2)
    threads.begin("for t in ts: t.join(0.2)")
    assert threads.answer() == 0
    assert threads.do("assert all(t.is_alive() for t in ts)") == 0, "a close returned before the file was published"
    assert not locker.answered()
    give_back(others(peer), signal.SIGSTOP)
    assert locker.answer() == 0
    assert threads.do("for t in ts: t.join()") == 0
    peer.ensemble.wait_equal()
    assert shell(f"cd {peer.ensemble[2].mount} && cat file dir/file") == "with a lockby threads"
    assert version(peer, "file") == 2


def test_readers_wait_for_what_release_publishes(alone, held):
    """An election passes meanwhile; then they see it."""
    peer = alone("timeo=60")
    writer = held()
    path = peer.path("file")
    # The opener is killed in its close: the rest is as after a RELEASE.
    assert writer.do(f"fd = os.open({path!r}, os.O_WRONLY | os.O_TRUNC); os.write(fd, b'late\\n')") == 0
    lose(others(peer), signal.SIGSTOP)
    wait_lost(peer)
    writer.begin("os.close(fd)")
    wait_for_calls(peer, 1)
    writer.kill()
    readers = [spawn("cat", path), spawn("stat", "-c", "%s", path),
               spawn(sys.executable, "-c", f"assert open({path!r}, 'r+').read() == 'late\\n'")]
    assert shell(f"ls {peer.mount}", deadline=5) == "dir\nfile\n"  # names are nothing that is published there
    assert all(reader.poll() is None for reader in readers)
    give_back(others(peer), signal.SIGSTOP)
    said = [reader.communicate(timeout=20)[0] for reader in readers]
    assert said == ["late\n", "5\n", ""] and all(reader.returncode == 0 for reader in readers)


# ---- what is killed, and what exits ----

# In a folder of its own each, so that none waits for another.
CHANGES = {
    "mkdir": "os.mkdir('dir/new')",
    "create": "os.open('dir/new', os.O_WRONLY | os.O_CREAT)",
    "rename": "os.rename('file', 'dir/file')",
    "append": "os.write(os.open('file', os.O_WRONLY | os.O_APPEND), b'x')",
    "osync": "os.write(os.open('file', os.O_WRONLY | os.O_SYNC), b'x')",
    "truncate": "os.truncate('file', 1)",
    "close": "fd = os.open('file', os.O_WRONLY); os.write(fd, b'x'); os.close(fd)",
    "fsync": "fd = os.open('file', os.O_WRONLY); os.write(fd, b'x'); os.fsync(fd)",
    "barrier": "os.fsync(os.open('file', os.O_RDONLY))",
}
TRAPPED = """
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"signal\\n"))
os.chdir(sys.argv[1])
os.write(1, b"ready\\n")
{}
"""


def test_writes_to_a_set_id_file_wait_together(alone, held):
    """However often an unprivileged process writes without a quorum: its bits are taken away by one change."""
    peer = alone(f"timeo={TIMEO}")
    shell(f"cd {peer.mount} && echo old > setid && chmod 6777 setid")
    process = held()
    assert process.do(f"fd = os.open({peer.path('setid')!r}, os.O_WRONLY)") == 0
    assert process.do("os.setgroups([]); os.setresgid(6001, 6001, 6001); os.setresuid(5001, 5001, 5001)") == 0
    lose(others(peer), signal.SIGSTOP)
    wait_lost(peer)
    assert process.do("for i in range(100): os.pwrite(fd, b'new', 0)") == 0
    assert "znodefs_calls_outstanding 1\n" in peer.metrics()
    give_back(others(peer), signal.SIGSTOP)
    peer.ensemble.wait_quorum()
    assert process.do("os.close(fd)") == 0
    assert run("stat", "-c", "%a", peer.path("setid")) == "777\n"
    assert peer.read("setid") == "new\n"


def test_killed_after_another_signal(alone):
    """INTERRUPT comes once for each request: SIGUSR1 uses it up, changes nothing, and SIGKILL must end them anyhow. A
    barrier is interrupted, asked again by Python, and can be killed."""
    peer = alone("timeo=60")
    for what in CHANGES:
        shell(f"cd {peer.mount} && mkdir -p {what}/dir && echo old > {what}/file")
    peer.ensemble.wait_equal()
    lose(others(peer), signal.SIGSTOP)
    wait_lost(peer)
    processes = {what: spawn(sys.executable, "-c", TRAPPED.format(code), peer.path(what))
                 for what, code in CHANGES.items()}
    wait_for_calls(peer, len(CHANGES))
    for process in processes.values():
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGUSR1)
    assert processes["barrier"].stdout.readline() == "signal\n"
    wait_for_calls(peer, len(CHANGES))
    assert all(process.poll() is None for process in processes.values())
    for process in processes.values():
        process.kill()
    for what, process in processes.items():
        assert ended(process, 10)[0] == -signal.SIGKILL, what
    peer.status(deadline=5)
    give_back(others(peer), signal.SIGSTOP)
    peer.ensemble.wait_quorum()
    wait_until(lambda: peer.read("close/file") == "xld\n", 20, "what was closed to be published")
    peer.ensemble.assert_same_trees()


@pytest.mark.parametrize("how", ["exit", "exec"])
def test_who_exits_does_not_wait(alone, how):
    """The FLUSH of an exiting process gets no INTERRUPT: it is answered at once, and published later."""
    peer = alone("timeo=60")
    lose(others(peer), signal.SIGSTOP)
    wait_lost(peer)
    code = (f"import os\nfd = os.open({peer.path('file')!r}, os.O_WRONLY | os.O_TRUNC)\nos.write(fd, b'at exit\\n')\n")
    if how == "exit":
        begun = time.monotonic()
        assert ended(spawn(sys.executable, "-c", code + "os._exit(7)"))[0] == 7
        assert time.monotonic() - begun < 1 + SLACK
    else:  # goes on, so its close waits, until it is killed
        process = spawn(sys.executable, "-c", code + "os.execv('/bin/true', ['true'])")
        wait_for_calls(peer, 1)
        assert process.poll() is None
        process.kill()
        assert ended(process, 10)[0] == -signal.SIGKILL
    give_back(others(peer), signal.SIGSTOP)
    wait_until(lambda: peer.read("file") == "at exit\n", 20, "the draft to be published")
    assert version(peer, "file") == 2


# ---- what the kernel serialises ----

def test_who_waits_behind_others_waits_no_longer(alone):
    """Listings and look-ups in a directory with a create outstanding, and what is done to one file, end after timeo."""
    timeo = 3
    peer = alone(f"timeo={timeo}")
    lose(others(peer), signal.SIGSTOP)
    wait_lost(peer)
    begun = time.monotonic()
    first = [spawn("mkdir", peer.path("dir/new")),
             spawn(sys.executable, "-c", "import os, sys\nos.write(os.open(sys.argv[1], os.O_WRONLY | os.O_SYNC), b'x')",
                   peer.path("file"))]
    wait_for_calls(peer, 2)
    behind = [spawn("ls", peer.path("dir")), spawn("stat", peer.path("dir/unknown")), spawn("rmdir", peer.path("dir/x")),
              spawn("touch", peer.path("dir/y")),
              spawn(sys.executable, "-c", TRUNCATE, peer.path("file")),
              spawn(sys.executable, "-c", FSYNC, peer.path("file")),
              spawn("bash", "-c", f"echo x >> {peer.path('file')}")]
    apart = [spawn("ls", peer.mount), spawn("cat", peer.path("file")), spawn("stat", peer.path("file"))]
    for process in apart:
        assert ended(process, timeo - 1 if SLACK < timeo else 10)[0] == 0
    told = [ended(process, timeo + 10) for process in first + behind]
    took = time.monotonic() - begun
    assert took < timeo + SLACK, f"took {took:.1f} s"
    assert [code == 0 for code, _ in told] == [False, False, True] + [False] * 6
    words = " ".join(said for _, said in told)
    assert "No such file" in told[3][1] and words.count("Read-only") + words.count("Errno 30") >= 5, words
    assert "Errno 5" in told[7][1]
    give_back(others(peer), signal.SIGSTOP)
    peer.ensemble.wait_quorum()
    run(sys.executable, "-c", DIRECT, peer.path("file"))
    assert peer.read("file") == OLD, "what failed with EROFS never happens"
    assert run("ls", peer.path("dir")) == ""


# ---- being told ----

@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_poll_wakes_at_once(alone, held, number):
    """A peer that dies is seen when its connection ends, one that hangs after peerTimeout."""
    peer = alone("timeo=60")
    poller = held()
    assert poller.do(f"import select; fd = os.open({peer.path('.znodefs/status')!r}, 0); p = select.poll()") == 0
    assert poller.do("p.register(fd, select.POLLPRI)") == 0
    poller.begin("exec(\"while b'quorum\\tyes' in os.pread(fd, 65536, 0):\\n    assert p.poll(20000), 'not woken'\")")
    lose(others(peer), number)
    begun = time.monotonic()
    assert poller.answer() == 0
    assert time.monotonic() - begun < (1 if number == signal.SIGSTOP else 0) + SLACK
    give_back(others(peer), number)
    peer.ensemble.wait_quorum()
