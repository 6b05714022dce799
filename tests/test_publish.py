"""When a file is published: whole and once (design: 2.1, the rules of publishing, by their numbers)."""

import os
import subprocess
import sys

import pytest
from lib.ensemble import run, shell, wait_until
from lib.files import OLD, SEEN_DEADLINE, catch_up, ended, python, seen_everywhere, spawn, version

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


def test_beginning_read_again(shared, held):
    """What moves an open file on to the newest version: its beginning, read again, or a second read at the end; reading
    on in pieces of any size, or going back to the middle, does not."""
    reader = held()
    shared[1].write("again", "0" * 10000)
    assert reader.do(f"fd = os.open({shared[1].path('again')!r}, os.O_RDONLY)") == 0
    version_number = 0
    for offset, size, newest in ((0, 100, True), (100, 100, False), (200, 1, False), (24, 16, True), (5000, 10, False),
                                 (200, 10, False), (99, 1, True), (0, 6000, True), (4096, 1, False), (4095, 1, True),
                                 (9000, 9000, False), (10000, 1, None), (10000, 1, None), (9000, 1, False),
                                 (200, 1, True)):
        version_number += 1
        shared[1].write("again", f"{version_number % 10}" * 10000)
        assert reader.do(f"seen = os.pread(fd, {size}, {offset})") == 0
        if newest is not None:
            assert reader.do(f"assert (seen[:1] == b'{version_number % 10}') == {newest}, (seen, {offset})") == 0


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


# ---- rule 1: what a draft is, and whose ----

def test_truncated_is_whole(shared, held):
    """ftruncate to 0 makes whole contents of a draft, to anything else cuts what is there when it is published."""
    for name, size, expected in (("whole", 0, "new"), ("cut", 4, "new3"), ("grown", 12, "new3YY6789\\0\\0")):
        shared[1].write(name, "0123456789")
        catch_up(shared[2])
        writer = held()
        assert writer.do(f"fd = os.open({shared[1].path(name)!r}, os.O_WRONLY); os.ftruncate(fd, {size})") == 0
        run("dd", f"of={shared[2].path(name)}", "bs=1", "seek=4", "conv=notrunc", "status=none", stdin="YY")
        assert writer.do("os.write(fd, b'new'); os.close(fd)") == 0
        seen_everywhere(shared, f"tr '\\0' 0 < {name}", expected.replace("\\0", "0"))


def test_the_last_published_wins(shared, held):
    """Two drafts of whole contents on two mounts: the one published last, whichever was begun first."""
    shared[1].write("last", OLD)
    catch_up(shared[2])
    first, second = held(), held()
    for writer, peer, text in ((first, shared[1], b"first"), (second, shared[2], b"second")):
        assert writer.do(f"fd = os.open({peer.path('last')!r}, os.O_WRONLY | os.O_TRUNC); os.write(fd, {text!r})") == 0
    assert second.do("os.close(fd)") == 0
    seen_everywhere(shared, "cat last", "second")
    assert first.do("os.close(fd)") == 0
    seen_everywhere(shared, "cat last", "first")


def test_a_draft_of_ranges_over_other_contents(shared, held):
    """The contents became shorter meanwhile: what lies between is zeros, as on a disk."""
    shared[1].write("shorter", "0123456789")
    catch_up(shared[2])
    writer = held()
    assert writer.do(f"fd = os.open({shared[1].path('shorter')!r}, os.O_RDWR); os.pwrite(fd, b'XX', 6)") == 0
    assert writer.do("assert os.pread(fd, 100, 0) == b'012345XX89'") == 0
    shell(f"printf ab > {shared[2].path('shorter')}")
    assert writer.do("os.close(fd)") == 0
    seen_everywhere(shared, "tr '\\0' 0 < shorter", "ab0000XX")


def test_a_new_file_is_there_at_once(shared, held):
    """Empty, from O_CREAT on; O_EXCL is a lock that people use."""
    for sid, flags, errno in ((1, "os.O_CREAT", 0), (2, "os.O_CREAT | os.O_EXCL", 17)):
        assert held().do(f"os.open({shared[sid].path('made')!r}, os.O_WRONLY | {flags})") == errno
        catch_up(shared[2])
    seen_everywhere(shared, "stat -c %s made", "0\n")


# ---- fsync and O_DIRECT: the newest there is ----

@pytest.mark.parametrize("how", ["fsync", "fsync-other", "direct"])
def test_linearizable_reads(shared, held, how):
    """What a writer was acknowledged on one mount is read on another, by whoever passes a barrier first."""
    name = f"linear-{how}"
    shared[1].write(name, "0")
    catch_up(shared[2])
    catch_up(shared[3])
    writer, readers = held(), [held(), held()]
    assert writer.do(f"fd = os.open({shared[1].path(name)!r}, os.O_WRONLY | os.O_SYNC)") == 0
    for sid, reader in zip((2, 3), readers):
        path = shared[sid].path(name)
        assert reader.do(f"import mmap; m = mmap.mmap(-1, 4096); fd = os.open({path!r}, os.O_RDONLY)") == 0
        assert reader.do(f"direct = os.open({path!r}, os.O_RDONLY | os.O_DIRECT)") == 0
        assert reader.do(f"top = os.open({shared[sid].mount!r}, os.O_RDONLY)") == 0
    read = {"fsync": "os.fsync(fd); n = int(os.pread(fd, 100, 0))",
            "fsync-other": "os.fsync(top); n = int(os.pread(fd, 100, 0))",
            "direct": "n = int(m[:os.preadv(direct, [m], 0)])"}[how]
    for number in range(1, 40):
        assert writer.do(f"os.pwrite(fd, b'{number:03}', 0)") == 0
        for reader in readers:
            reader.begin(f"{read}; assert n == {number}, n")
        for reader in readers:
            assert reader.answer() == 0


APPEND_PAGES = """
import mmap, os, sys
path, sid, count = sys.argv[1:]
pages = mmap.mmap(-1, 256 * mmap.PAGESIZE)
pages[:] = sid.encode() * len(pages)
view = memoryview(pages)
fd = os.open(path, os.O_WRONLY | os.O_APPEND)
for number in range(int(count)):
    if number % 2:
        assert os.write(fd, pages) == len(pages)
    else:
        pieces = [view[at * mmap.PAGESIZE:(at + 1) * mmap.PAGESIZE] for at in range(256)]
        assert os.writev(fd, pieces) == len(pages)
"""


def test_appends_of_256_pages(make_ensemble):
    """One write(2) of as many, or of as many segments, is one append: nothing of another mount lies in it."""
    ensemble = make_ensemble(3, config={"jute.maxbuffer": 32 << 20})
    ensemble[1].write("large", "")
    ensemble.wait_equal()
    writers = [spawn(sys.executable, "-c", APPEND_PAGES, peer.path("large"), str(peer.sid), "4") for peer in ensemble]
    for writer in writers:
        assert ended(writer) == (0, "")
    ensemble.wait_equal()
    for peer in ensemble:
        runs = shell(f"fold -w {1 << 20} {peer.path('large')} | uniq -c | wc -l; fold -w {1 << 20} "
                     f"{peer.path('large')} | awk '{{ c = substr($0, 1, 1); gsub(c, \"\"); n[c]++; bad += length }} "
                     "END { print n[1], n[2], n[3], bad }'")
        assert runs.splitlines()[1] == "4 4 4 0", runs
    assert version(ensemble[1], "large") == 12


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


def test_every_close_tells_of_a_failed_write(shared, held):
    """Also a child's, and one that is not the last."""
    shared[1].write("failed", OLD)
    writer = held()
    assert writer.do(f"fd = os.open({shared[1].path('failed')!r}, os.O_WRONLY | os.O_TRUNC); other = os.dup(fd)") == 0
    assert writer.do("os.pwrite(fd, b'fits', 0)") == 0
    assert writer.do("os.pwrite(fd, b'x', 1 << 20)") == 27
    assert writer.do("os.pwrite(fd, b'fits', 0)") == 27
    assert writer.do("os.fsync(fd)") == 27
    assert writer.do("os.close(fd)") == 27
    assert writer.do("os.close(other)") == 27
    assert shared[1].read("failed") == OLD
    for script in ("{ echo a; head -c 1048577 /dev/zero; echo b; }", "{ echo a; head -c 2000000 /dev/zero & wait; }"):
        shell(f"cd {shared[1].mount} && {script} > failed", check=False)
        assert shared[1].read("failed") == OLD
    assert run("dd", "if=/dev/zero", f"of={shared[1].path('failed')}", "bs=1000", "count=1100", check=False).returncode
    assert shared[1].read("failed") == OLD
    assert version(shared[1], "failed") == 1


@pytest.mark.parametrize("number", ["KILL", "TERM", "SEGV", "XFSZ"])
def test_killed_writer_publishes_nothing(shared, held, number):
    name = f"killed-{number}"
    shared[1].write(name, OLD)
    writer = held()
    assert writer.do("import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)") == 0
    assert writer.do(f"fd = os.open({shared[1].path(name)!r}, os.O_WRONLY | os.O_TRUNC)") == 0
    assert writer.do("os.write(fd, b'half')") == 0
    if number == "XFSZ":
        writer.begin("resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8)); os.write(fd, b'other half')")
        writer.begin("os.write(fd, b'and more')")
    else:
        run("kill", f"-{number}", str(writer.process.pid))
    assert writer.process.wait(30) < 0
    assert shared[1].read(name) == OLD
    shared[1].write(name, "next\n")  # behind whatever the kill has published
    assert shared[1].read(name) == "next\n"
    assert version(shared[1], name) == 2


def test_killed_opener_with_a_child_that_goes_on(shared):
    """Half of the draft is the opener's: it is dropped, and the child is told."""
    shared[1].write("orphaned", OLD)
    python("""import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
os.write(fd, b"half")
r, w = os.pipe()
if os.fork() == 0:
    opener = os.getppid()
    if os.fork() == 0:
        os.kill(opener, 9)
        while os.path.exists(f"/proc/{opener}") and ") Z" not in open(f"/proc/{opener}/stat").read():
            pass
        errors = []
        for call in (lambda: os.write(fd, b"whole"), lambda: os.close(fd)):
            try:
                call()
            except OSError as error:
                errors.append(error.errno)
        print(errors, flush=True)
        os._exit(0)
    os._exit(0)
os.read(r, 1)
""", shared[1].path("orphaned"), check=False)
    wait_until(lambda: "\nznodefs_open_files 0\n" in shared[1].metrics(), SEEN_DEADLINE, "the child to end")
    assert shared[1].read("orphaned") == OLD
    assert version(shared[1], "orphaned") == 1


def test_killed_child(shared):
    """Who opened the file decides: it goes on, and publishes."""
    shared[1].write("survivor", OLD)
    shell(f"{{ echo a; sh -c 'echo b; kill -9 $$; echo c'; echo d; }} > {shared[1].path('survivor')}")
    assert shared[1].read("survivor") == "a\nb\nd\n"


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


@pytest.mark.parametrize("remover", [1, 2])
def test_removed_with_a_draft(shared, held, remover):
    """Published nowhere, without an error, and not under the name of another file made since."""
    name = f"removed-{remover}"
    shared[1].write(name, OLD)
    catch_up(shared[2])
    writer = held()
    assert writer.do(f"fd = os.open({shared[1].path(name)!r}, os.O_RDWR | os.O_TRUNC); os.write(fd, b'draft')") == 0
    run("rm", shared[remover].path(name))
    assert writer.do("assert os.pread(fd, 100, 0) == b'draft'; os.close(fd)") == 0
    seen_everywhere(shared, f"ls {name} 2>/dev/null || true", "")
    assert writer.do(f"fd = os.open({shared[1].path(name)!r}, os.O_WRONLY | os.O_CREAT); os.write(fd, b'draft')") == 0
    shell(f"cd {shared[remover].mount} && sync . && rm {name} && echo another > {name}")
    assert writer.do("os.close(fd)") == 0
    seen_everywhere(shared, f"cat {name}", "another\n")


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


def test_times_set_while_a_draft_is_open(shared, held):
    """By path or descriptor, also by another process; what is written afterwards is later."""
    path = shared[1].path("timed")
    for set_by, last, kept in (("os.utime(fd, ns=(5, 7))", "pass", True), (f"os.utime({path!r}, ns=(5, 7))", "pass", True),
                               ("os.utime(fd, ns=(5, 7))", "os.write(fd, b'y')", False),
                               ("os.utime(fd, ns=(5, 7))", "os.ftruncate(fd, 1)", False),
                               ("os.utime(fd, ns=(5, 7))", "os.fchmod(fd, 0o600); os.fsync(fd)", True)):
        shared[1].write("timed", OLD)
        writer = held()
        assert writer.do(f"fd = os.open({path!r}, os.O_WRONLY | os.O_TRUNC); os.write(fd, b'x')") == 0
        assert writer.do(set_by) == 0
        assert writer.do(last) == 0
        assert writer.do("os.close(fd)") == 0
        told = run("stat", "-c", "%.9X %.9Y", path)
        assert (told == "0.000000005 0.000000007\n") == kept, (set_by, last)
    shell(f"exec 3> {path}; echo x >&3; touch -d @1000 {path}; exec 3>&-")
    seen_everywhere(shared, "stat -c %Y timed", "1000\n")


def test_times_set_on_another_mount(shared, held):
    """They survive like those set here; an atime alone keeps no mtime back."""
    path = shared[1].path("timed-elsewhere")
    for option, kept in (("-m", True), ("-a", False)):
        shared[1].write("timed-elsewhere", OLD)
        writer = held()
        assert writer.do(f"fd = os.open({path!r}, os.O_WRONLY); os.write(fd, b'x')") == 0
        catch_up(shared[2])
        run("touch", option, "-d", "@1000", shared[2].path("timed-elsewhere"))
        catch_up(shared[1])
        before = run("stat", "-c", "%Y", path)
        assert writer.do("os.close(fd)") == 0
        assert shared[1].read("timed-elsewhere") == "x" + OLD[1:]
        assert (run("stat", "-c", "%.9Y", path) == "1000.000000000\n") == kept
        assert kept or run("stat", "-c", "%X", path) == "1000\n" != before


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


def test_another_descriptor_of_the_file(shared, held):
    """One that the process holds, as for locking, is none of the open file that it closes: that close publishes, and
    says so when it fails."""
    shared[1].write("locked", OLD)
    writer = held()
    path = shared[1].path("locked")
    assert writer.do(f"lock = os.open({path!r}, os.O_RDWR)") == 0
    for number in range(5):
        assert writer.do(f"fd = os.open({path!r}, os.O_WRONLY | os.O_TRUNC); os.write(fd, b'{number}')") == 0
        assert shared[1].read("locked") == (str(number - 1) if number else OLD)
        assert writer.do("os.close(fd)") == 0
        assert shared[1].read("locked") == str(number)
    assert writer.do(f"fd = os.open({path!r}, os.O_WRONLY | os.O_TRUNC); other = os.dup(fd)") == 0
    assert writer.do("os.write(fd, b'half')") == 0
    assert writer.do("os.close(fd)") == 0
    assert shared[1].read("locked") == "4"
    assert writer.do("os.write(other, b' whole'); os.close(other)") == 0
    assert shared[1].read("locked") == "half whole"
    assert writer.do("os.close(lock)") == 0
    assert version(shared[1], "locked") == 7


def test_a_descriptor_for_more_than_writing(shared, held):
    """As `exec 9<>f` leaves one behind, whose open file has been flushed: it is none of one that only writes."""
    shared[1].write("both-ways", OLD)
    writer = held()
    path = shared[1].path("both-ways")
    assert writer.do(f"a = os.open({path!r}, os.O_RDWR); lock = os.dup(a); os.close(a)") == 0
    assert writer.do(f"fd = os.open({path!r}, os.O_WRONLY | os.O_TRUNC); os.write(fd, b'whole')") == 0
    assert writer.do("import signal; pid = os.fork() or signal.pause()") == 0  # the child keeps RELEASE away
    assert writer.do("os.close(fd)") == 0
    assert shared[1].read("both-ways") == "whole"
    assert writer.do("os.kill(pid, 9); os.waitpid(pid, 0)") == 0
    assert version(shared[1], "both-ways") == 2


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
