"""Nothing that a process does may stop its daemon: closes in the middle of execve(2), kills, many at once.

A process in execve(2) holds a lock of its own while it closes descriptors, and reading most of its /proc waits for that
lock: a daemon that looked there for who closes waited for the process that waited for it.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
from lib.ensemble import SANITIZED, Failure, run, wait_until

pytestmark = pytest.mark.root

PARALLEL = 20
DEADLINE = 20
ANSWER_S = 5 if SANITIZED else 1

CLOEXEC = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
os.write(fd, sys.argv[2].encode())
os.execv("/bin/true", ["true"])
"""
CLOEXEC_THREADS = """
import os, sys, threading
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
threading.Thread(target=threading.Event().wait, daemon=True).start()
writer = threading.Thread(target=lambda: (os.write(fd, sys.argv[2].encode()), os.execv("/bin/true", ["true"])))
writer.start()
writer.join()
"""
PERL = "open(F, q(>), shift); syswrite(F, shift); exec(q(/bin/true));"
FORKED = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
if os.fork() == 0:
    os.write(fd, sys.argv[2].encode())
    os.execv("/bin/true", ["true"])
assert os.wait()[1] == 0
os.execv("/bin/true", ["true"])
"""
ENDLESS = """
import os, sys
while True:
    fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(fd, b"half")
    os.write(fd, b"whole")
    os.close(fd)
"""
EXECUTING = {
    "python": (sys.executable, "-c", CLOEXEC),
    "threads": (sys.executable, "-c", CLOEXEC_THREADS),
    "perl": ("perl", "-e", PERL),
    "forked": (sys.executable, "-c", FORKED),
}


def wait_all(processes):
    """Until all have ended, or Failure: nobody waits for ever for a process that waits for a daemon that hangs."""
    end = time.monotonic() + DEADLINE
    codes = []
    for process in processes:
        try:
            codes.append(process.wait(max(0.1, end - time.monotonic())))
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{process.args[:2]}... hangs") from error
    return codes


def assert_answers(ensemble):
    for peer in ensemble:
        peer.status(deadline=ANSWER_S)


@pytest.mark.parametrize("how", EXECUTING)
def test_execve_closes_a_draft(shared, how):
    """Rule 2 holds there as at any close: published before the new program runs."""
    name = f"exec-{how}"
    wait_all([subprocess.Popen([*EXECUTING[how], shared[1].path(name), "contents"])])
    assert_answers(shared)
    assert shared[1].read(name) == "contents"
    assert run("getfattr", "--only-values", "-n", "znode.version", shared[1].path(name)) == "1"


def test_many_execve_at_once(shared):
    processes = [subprocess.Popen([*argv, peer.path(f"many-{how}-{peer.sid}-{number}"), "contents"])
                 for peer in shared for how, argv in EXECUTING.items() for number in range(PARALLEL // 4)]
    assert set(wait_all(processes)) == {0}
    assert_answers(shared)
    shared.wait_equal()
    for peer in shared:
        for other in shared:
            for how in EXECUTING:
                for number in range(PARALLEL // 4):
                    assert peer.read(f"many-{how}-{other.sid}-{number}") == "contents"


def test_execve_of_one_file_by_many(shared):
    """They all write the same file: one of the contents, whole."""
    processes = [subprocess.Popen([*EXECUTING["python"], peer.path("one"), f"by {peer.sid} {number}"])
                 for peer in shared for number in range(PARALLEL)]
    assert set(wait_all(processes)) == {0}
    assert_answers(shared)
    shared.wait_equal()
    assert shared[1].read("one") in {f"by {peer.sid} {number}" for peer in shared for number in range(PARALLEL)}


def test_many_killed_writers(shared):
    """Killed wherever they are; what is published is whole."""
    processes = [subprocess.Popen([sys.executable, "-c", ENDLESS, peer.path(f"endless-{number % 5}")])
                 for peer in shared for number in range(PARALLEL)]
    try:
        wait_until(lambda: all(shared[1].read(f"endless-{number}") == "halfwhole" for number in range(5)), DEADLINE,
                   "every file to be written once")
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)
    assert set(wait_all(processes)) == {-signal.SIGKILL}
    assert_answers(shared)
    shared.wait_equal()
    for number in range(5):
        assert shared[2].read(f"endless-{number}") == "halfwhole"


def test_killed_group(shared):
    """A shell and its children that share a descriptor, killed together: nothing is published."""
    shared[1].write("group", "old\n")
    group = subprocess.Popen(["bash", "-c", '{ echo half; sleep 60; echo end; } > "$1"', "-", shared[1].path("group")],
                             start_new_session=True)
    wait_until(lambda: run("getfattr", "--only-values", "-n", "znode.version", shared[1].path("group")) == "1"
               and "\nznodefs_drafts 1\n" in shared[1].metrics(), DEADLINE, "the draft")
    os.killpg(group.pid, signal.SIGKILL)
    wait_all([group])
    wait_until(lambda: "\nznodefs_drafts 0\n" in shared[1].metrics(), DEADLINE, "the draft to go")
    assert_answers(shared)
    assert shared[1].read("group") == "old\n"


def test_the_end_of_a_mount_in_use(make_ensemble):
    """SIGTERM while files are open there, with drafts and in execve: the daemon ends in time, and so do they."""
    ensemble = make_ensemble(3)
    peer = ensemble[1]
    holder = subprocess.Popen([sys.executable, "-c", "import os, sys\nos.chdir(sys.argv[1])\n"
                               "fd = os.open('held', os.O_WRONLY | os.O_CREAT)\nos.write(fd, b'half')\n"
                               "print(flush=True)\nsys.stdin.read()\nos.close(fd)", peer.mount],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline()
        peer.stop()
        holder.stdin.close()
        wait_all([holder])
    finally:
        holder.kill()
        holder.wait(DEADLINE)
    peer.start()
    wait_until(lambda: peer.read("held") == "", DEADLINE, "the file, as it was before the draft")
