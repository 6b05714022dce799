"""When a file is published: whole and once (design: 2.1, the rules of publishing, by their numbers)."""

import os
import subprocess
import sys

import pytest
from lib.ensemble import run, shell, wait_until
from lib.files import OLD, SEEN_DEADLINE, catch_up, python, seen_everywhere, version

pytestmark = pytest.mark.root


def test_readers_here_see_the_old_contents(shared, held):
    """O_TRUNC sets the kernel's size to 0 at once, but nothing is published."""
    writer = held()
    path = shared[1].path("here")
    shared[1].write("here", OLD)
    assert writer.do(f"fd = os.open({path!r}, os.O_WRONLY | os.O_TRUNC)") == 0
    assert shared[1].read("here") == OLD
    assert run("stat", "-c", "%s", path) == f"{len(OLD)}\n"
    assert writer.do("os.write(fd, b'new\\n')") == 0
    assert writer.do("assert os.fstat(fd).st_size == 4") == 0
    assert shared[1].read("here") == OLD
    assert writer.do("os.close(fd)") == 0
    assert shared[1].read("here") == "new\n"


def test_open_file_reads_one_version(shared, held):
    reader = held()
    shared[1].write("one-version", "a" * 100)
    assert reader.do(f"fd = os.open({shared[1].path('one-version')!r}, os.O_RDONLY)") == 0
    assert reader.do("assert os.read(fd, 50) == b'a' * 50") == 0
    shared[1].write("one-version", "b" * 100)
    assert reader.do("assert os.read(fd, 100) == b'a' * 50") == 0
    assert reader.do("assert os.pread(fd, 100, 0) == b'b' * 100") == 0


def test_fsync_publishes(shared, held):
    writer = held()
    assert writer.do(f"fd = os.open({shared[1].path('fsync')!r}, os.O_WRONLY | os.O_CREAT)") == 0
    assert writer.do("os.write(fd, b'one')") == 0
    assert shared[1].read("fsync") == ""
    assert writer.do("os.fsync(fd)") == 0
    catch_up(shared[3], "fsync")
    assert shared[3].read("fsync") == "one"
    assert version(shared[3], "fsync") == 1
    assert writer.do("os.write(fd, b'two'); os.close(fd)") == 0
    catch_up(shared[3], "fsync")
    assert shared[3].read("fsync") == "onetwo"


def test_writes_elsewhere_are_kept(shared, held):
    """A draft begun without O_TRUNC is ranges: what another mount wrote beside them stays."""
    writer = held()
    shared[1].write("ranges", "0123456789")
    catch_up(shared[2])
    assert writer.do(f"fd = os.open({shared[1].path('ranges')!r}, os.O_WRONLY); os.pwrite(fd, b'XX', 2)") == 0
    run("dd", f"of={shared[2].path('ranges')}", "bs=1", "seek=6", "conv=notrunc", "status=none", stdin="YY")
    assert writer.do("os.close(fd)") == 0
    seen_everywhere(shared, "cat ranges", "01XX45YY89")


def test_written_after_the_opener_closed(shared):
    """RELEASE publishes it; whoever reads the file afterwards waits for that."""
    shared[1].write("late", OLD)
    shell(f"cd {shared[1].mount}; sh -c '{{ sleep 0.1; echo late; }} > late & exit' ; "
          "while [ \"$(cat late)\" != late ]; do :; done")
    seen_everywhere(shared, "cat late", "late\n")


def test_sync_writes(shared, held):
    """O_SYNC: every write is its own transaction."""
    writer = held()
    path = shared[1].path("osync")
    assert writer.do(f"fd = os.open({path!r}, os.O_WRONLY | os.O_CREAT | os.O_SYNC)") == 0
    for number in range(3):
        assert writer.do(f"os.write(fd, b'{number}')") == 0
        assert version(shared[1], "osync") == number + 1
        assert shared[1].read("osync") == "012"[:number + 1]
    assert writer.do("os.close(fd)") == 0
    assert version(shared[1], "osync") == 3


def test_truncate(shared):
    shared[1].write("cut", "0123456789")
    before = version(shared[1], "cut")
    run("truncate", "-s", "4", shared[1].path("cut"))
    assert version(shared[1], "cut") == before + 1
    seen_everywhere(shared, "cat cut", "0123")
    run("truncate", "-s", "6", shared[2].path("cut"))
    seen_everywhere(shared, "od -An -c cut", "   0   1   2   3  \\0  \\0\n")


# ---- failing and dying ----

def test_too_large(shared, held):
    """The old contents stay, and write and close say EFBIG (27)."""
    shared[1].write("large", OLD)
    before = version(shared[1], "large")
    big = os.path.join(shared.dir, "big")
    run("truncate", "-s", "1048577", big)
    done = run("cp", big, shared[1].path("large"), check=False)
    assert done.returncode != 0 and "File too large" in done.stderr
    writer = held()
    assert writer.do(f"fd = os.open({shared[1].path('large')!r}, os.O_WRONLY | os.O_TRUNC)") == 0
    assert writer.do("os.write(fd, b'x' * (1 << 20))") == 0
    assert writer.do("os.write(fd, b'x')") == 27
    assert writer.do("os.close(fd)") == 27
    assert shared[1].read("large") == OLD
    assert version(shared[1], "large") == before
    os.unlink(big)


def test_killed_writer_publishes_nothing(shared, held):
    shared[1].write("killed", OLD)
    before = version(shared[1], "killed")
    writer = held()
    assert writer.do(f"fd = os.open({shared[1].path('killed')!r}, os.O_WRONLY | os.O_TRUNC)") == 0
    assert writer.do("os.write(fd, b'half')") == 0
    writer.kill()
    assert shared[1].read("killed") == OLD
    shared[1].write("killed", "next\n")  # behind whatever the kill has published
    assert shared[1].read("killed") == "next\n"
    assert version(shared[1], "killed") == before + 1


def test_exit_publishes(shared, held):
    """A process that ends by itself has closed its files."""
    writer = held()
    assert writer.do(f"fd = os.open({shared[1].path('exited')!r}, os.O_WRONLY | os.O_CREAT)") == 0
    assert writer.do("os.write(fd, b'all')") == 0
    writer.end()
    assert shared[1].read("exited") == "all"


# ---- names that go while files are open ----

@pytest.mark.parametrize("remover", [1, 2])
def test_open_file_outlives_its_name(shared, held, remover):
    name = f"unlinked-{remover}"
    shared[1].write(name, OLD)
    catch_up(shared[2])
    process = held()
    assert process.do(f"fd = os.open({shared[1].path(name)!r}, os.O_RDWR)") == 0
    run("rm", shared[remover].path(name))
    catch_up(shared[1])
    assert process.do(f"assert os.pread(fd, 100, 0) == {OLD.encode()!r}") == 0
    assert process.do("assert os.fstat(fd).st_nlink == 0") == 0
    assert process.do("os.pwrite(fd, b'new', 0)") == 0
    assert process.do(f"assert os.pread(fd, 100, 0) == b'new' + {OLD[3:].encode()!r}") == 0
    assert process.do("os.fchmod(fd, 0o600); os.ftruncate(fd, 5); os.fsync(fd)") == 0
    assert process.do("assert os.pread(fd, 100, 0) == b'new c'") == 0
    assert process.do("os.close(fd)") == 0
    seen_everywhere(shared, f"ls {name} 2>/dev/null || true", "")


@pytest.mark.parametrize("renamer", [1, 2])
def test_renamed_with_a_draft(shared, held, renamer):
    old, new = f"before-{renamer}", f"after-{renamer}"
    shared[1].write(old, OLD)
    catch_up(shared[2])
    writer = held()
    assert writer.do(f"fd = os.open({shared[1].path(old)!r}, os.O_WRONLY | os.O_TRUNC); os.write(fd, b'new')") == 0
    run("mv", shared[renamer].path(old), shared[renamer].path(new))
    assert writer.do("os.close(fd)") == 0
    seen_everywhere(shared, f"cat {new}; ls {old} 2>/dev/null || true", "new")


def test_replaced_while_open(shared, held):
    """A draft belongs to the file, not to the name: another file of the name is not touched."""
    shared[1].write("replaced", OLD)
    writer = held()
    assert writer.do(f"fd = os.open({shared[1].path('replaced')!r}, os.O_WRONLY); os.write(fd, b'draft')") == 0
    shell(f"cd {shared[2].mount} && echo other > r.x && mv r.x replaced")
    catch_up(shared[1])
    assert writer.do("os.close(fd)") == 0
    seen_everywhere(shared, "cat replaced", "other\n")


# ---- times ----

def test_times_survive_publishing(shared):
    shell(f"cd {shared.dir} && echo x > source && echo y > tarred && touch -d @1000000000.123456789 source && "
          f"touch -d @1111111111 tarred && cp -p source {shared[1].path('kept-times')}")
    shell(f"cd {shared.dir} && tar cf times.tar tarred && tar xf times.tar -C {shared[1].mount}")
    seen_everywhere(shared, "stat -c %.9Y kept-times tarred", "1000000000.123456789\n1111111111.000000000\n")


# ---- who closes ----

def test_two_descriptors_of_one_process(shared, held):
    """Two open files of one file, by one process: each draft is published, the one closed last wins."""
    shared[1].write("two", OLD)
    writer = held()
    path = shared[1].path("two")
    assert writer.do(f"a = os.open({path!r}, os.O_WRONLY | os.O_TRUNC); b = os.open({path!r}, os.O_WRONLY)") == 0
    assert writer.do("os.write(a, b'first'); os.pwrite(b, b'SECOND', 0)") == 0
    assert writer.do("os.close(a)") == 0
    assert shared[1].read("two") == "first"
    assert writer.do("os.close(b)") == 0
    assert shared[1].read("two") == "SECOND"
    assert version(shared[1], "two") == 3


def test_fork_and_close(shared, held):
    """A child's close of what it inherited publishes nothing; nor does a thread's end."""
    writer = held()
    path = shared[1].path("forked")
    shared[1].write("forked", OLD)
    assert writer.do(f"fd = os.open({path!r}, os.O_WRONLY | os.O_TRUNC); os.write(fd, b'half')") == 0
    assert writer.do("pid = os.fork(); (os.close(fd), os._exit(0)) if pid == 0 else os.waitpid(pid, 0)") == 0
    assert shared[1].read("forked") == OLD
    assert writer.do("import threading; t = threading.Thread(target=os.write, args=(fd, b' whole')); "
                     "t.start(); t.join()") == 0
    assert shared[1].read("forked") == OLD
    assert writer.do("os.close(fd)") == 0
    assert shared[1].read("forked") == "half whole"


def test_thread_opens(shared, held):
    """The opener is the process: a file that one thread opened and another closes is published at that close."""
    writer = held()
    path = shared[1].path("threads")
    assert writer.do("import threading") == 0
    assert writer.do("exec('def run(f, *a):\\n t = threading.Thread(target=f, args=a); t.start(); t.join()')") == 0
    assert writer.do(f"fds = []; run(lambda: fds.append(os.open({path!r}, os.O_WRONLY | os.O_CREAT)))") == 0
    assert writer.do("run(os.write, fds[0], b'by a thread')") == 0
    assert shared[1].read("threads") == ""
    assert writer.do("run(os.close, fds[0])") == 0
    assert shared[1].read("threads") == "by a thread"
    assert version(shared[1], "threads") == 1


def test_main_thread_ends_first(shared):
    """Of a process whose main thread has ended, /proc shows no descriptors but by the threads that are left."""
    shared[1].write("headless", OLD)
    python("""import ctypes, os, sys, threading
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
other = os.dup(fd)
def seen():
    with open(sys.argv[1]) as file:
        return file.read()
def go():
    try:
        while ") Z" not in open(f"/proc/self/task/{os.getpid()}/stat").read():
            pass
        os.write(fd, b"half")
        os.close(other)
        assert seen() == sys.argv[2], seen()
        os.write(fd, b" whole")
        os.close(fd)
        assert seen() == "half whole", seen()
        os._exit(0)
    finally:
        os._exit(1)
threading.Thread(target=go).start()
ctypes.CDLL(None).syscall(93 if os.uname().machine == "aarch64" else 60, 0)  # exit(2) of this thread alone
""", shared[1].path("headless"), OLD)


def test_descriptor_passed_on(shared):
    """Sent through a socket, the opener's own closed: what the other writes is published when it closes."""
    shared[1].write("passed", OLD)
    python("""import os, socket, sys
a, b = socket.socketpair()
if os.fork() == 0:
    a.close()
    fds = socket.recv_fds(b, 1, 1)[1]
    b.recv(1)
    os.write(fds[0], b"by the other")
    os.close(fds[0])
    os._exit(0)
b.close()
fd = os.open(sys.argv[1], os.O_WRONLY)
socket.send_fds(a, [b"x"], [fd])
os.close(fd)
a.send(b"x")
assert os.wait()[1] == 0
""", shared[1].path("passed"))
    wait_until(lambda: shared[1].read("passed") == "by the other\n", SEEN_DEADLINE, "the other's draft")
