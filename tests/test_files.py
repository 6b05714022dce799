"""What a file is here: published whole and once, appended without loss, and otherwise as on a disk."""

import ctypes
import json
import os
import subprocess
import sys

import pytest
from lib.ensemble import ROOT, run, shell, wait_until

pytestmark = pytest.mark.root

SHELLS = {"bash": ("bash",), "dash": ("dash",), "busybox": ("busybox", "sh")}
SEEN_DEADLINE = 10


def python(code, *argv, deadline=30, check=True):
    """Runs Python code in a process of its own; `argv` is sys.argv[1:]."""
    return run(sys.executable, "-c", code, *argv, deadline=deadline, check=check)


class Held:
    """A process that runs Python code line by line as it is told: it holds what the lines open."""

    SERVE = ("import os, sys\n"
             "for line in sys.stdin:\n"
             "    try:\n"
             "        exec(line)\n"
             "        print('ok', flush=True)\n"
             "    except OSError as error:\n"
             "        print(error.errno, flush=True)\n")

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-c", self.SERVE], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def do(self, line):
        """The errno, 0 for success. The line prints nothing."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        return 0 if answer == "ok" else int(answer)

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def end(self):
        self.process.stdin.close()
        self.process.wait(30)


@pytest.fixture
def held():
    made = []

    def make():
        made.append(Held())
        return made[-1]

    yield make
    for each in made:
        each.kill()


class Reader:
    """lib/reader.py on a mount."""

    def __init__(self, mount):
        script = os.path.join(ROOT, "tests", "lib", "reader.py")
        self.process = subprocess.Popen([sys.executable, script, mount], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def turn_to(self, path):
        """Reads `path` from now on; what was seen of the one before."""
        self.process.stdin.write(path + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def reader(shared):
    """On server 2; writers are on server 1."""
    reader = Reader(shared[2].mount)
    yield reader
    reader.process.kill()
    reader.process.wait(30)


def version(peer, name):
    return int(run("getfattr", "--only-values", "-n", "znode.version", peer.path(name)))


def catch_up(peer, name="."):
    """Whatever was committed before is seen here."""
    run("sync", peer.path(name))


def seen_everywhere(ensemble, script, expected):
    for peer in ensemble:
        wait_until(lambda: shell(f"cd {peer.mount} && {script}") == expected, SEEN_DEADLINE,
                   f"{script!r} to print {expected!r} at server {peer.sid}")


# ---- publishing ----

LONG = "".join(f"line {number} of a text that is longer than a page\n" for number in range(400))

# $F is the file, $SRC another with LONG in it, $TAR an archive of $F with LONG in it. What stands between the pieces
# gives the reader time to see a piece, if it could.
SCRIPTS = {
    "echo": ('echo v > $F', "v\n"),
    "long": ('printf "%s\\n" "$LONG" > $F', LONG),
    "nothing": (': > $F', ""),
    "cp": ('cp $SRC $F', LONG),
    "cat": ('cat $SRC > $F', LONG),
    "here": ('cat > $F <<E\na\nb\nE', "a\nb\n"),
    "group": ('{ echo a; sleep 0.03; /bin/echo b; } > $F', "a\nb\n"),
    "group-log": ('{ echo a; echo log >&2; sleep 0.03; /bin/echo b; echo c; } > $F', "a\nb\nc\n"),
    "group-inner": ('{ echo a; echo x > $F.x; sleep 0.03; echo b; } > $F', "a\nb\n"),
    "descriptor": ('exec 3>$F; echo a >&3; sleep 0.03; echo b >&3; exec 3>&-', "a\nb\n"),
    "duplicate": ('exec 3>$F 4>&3; echo a >&3; exec 3>&-; sleep 0.03; echo b >&4; exec 4>&-', "a\nb\n"),
    "exit": ('exec 3>$F; echo a >&3; sleep 0.03; echo b >&3', "a\nb\n"),
    "stdout": ('exec >$F; echo a; sleep 0.03; echo b', "a\nb\n"),
    "exec": ('exec >$F; echo a; exec /bin/echo b', "a\nb\n"),
    "loop": ('for i in 1 2 3; do echo $i; echo x > $F.x; sleep 0.01; done > $F', "1\n2\n3\n"),
    "while": ('while read -r l; do echo "$l"; done < $SRC > $F', LONG),
    "pipe": ('echo a | { cat; sleep 0.03; echo b; } > $F', "a\nb\n"),
    "subshell": ('( echo a; sleep 0.03; /bin/echo b ) > $F', "a\nb\n"),
    "background": ('{ echo a; sleep 0.03; echo b; } > $F & wait', "a\nb\n"),
    "function": ('f() { echo a; ls / >/dev/null; sleep 0.03; echo b; }; f > $F', "a\nb\n"),
    "nested-shell": ('sh -c "echo a; sleep 0.03; echo b" > $F', "a\nb\n"),
    "read-write": ('exec 3<>$F; echo abc >&3; sleep 0.03; echo d >&3; exec 3>&-', "abc\nd\nntents\n"),
}
PROGRAMS = {
    "tee": ('tee $F < $SRC > /dev/null', LONG),
    "dd": ('dd if=$SRC of=$F bs=777 status=none', LONG),
    "dd-notrunc": ('printf xy | dd of=$F bs=1 seek=2 conv=notrunc status=none', "olxycontents\n"),
    "sort": ('sort -o $F $SRC', "".join(sorted(LONG.splitlines(True)))),
    "python": ('''python3 -c 'import sys
with open(sys.argv[1], "w", buffering=64) as f:
    for line in open(sys.argv[2]):
        f.write(line)' $F $SRC''', LONG),
    "python-r+": ('''python3 -c 'import sys, time
with open(sys.argv[1], "r+", buffering=1) as f:
    f.write("new\\n")
    f.flush(); time.sleep(0.03)
    f.write("more\\n"); f.truncate()' $F''', "new\nmore\n"),
    "perl": ("perl -e 'open(F, q(>), shift); $|=1; print F qq(a\\n); system(q(sleep 0.03)); print F qq(b\\n); "
             "close(F)' $F", "a\nb\n"),
}
# These make another file of the name.
REPLACING = {
    "sed": ('sed -i s/old/new/ $F', "new contents\n", ()),
    "mv": ('cp $SRC $F.x; mv $F.x $F', LONG, ()),
    "install": ('install -m 640 $SRC $F', LONG, (None, "")),
    "tar": ('tar xf $TAR', LONG, (None, "")),
}
OLD = "old contents\n"


@pytest.fixture(scope="module")
def sources(shared):
    """$SRC and $TAR."""
    source = os.path.join(shared.dir, "source")
    with open(source, "w", encoding="ascii") as file:
        file.write(LONG)
    shell(f"cd {shared.dir} && cp source tarred && tar cf tar tarred")
    return {"SRC": source, "TAR": os.path.join(shared.dir, "tar"), "LONG": LONG.rstrip("\n")}


def publish(shared, reader, sources, shell_argv, name, script):
    """What the reader saw while the script ran over a file with OLD in it, and the version before and after."""
    shared[1].write(name, OLD)
    catch_up(shared[2], name)
    before = version(shared[2], name)
    reader.turn_to(name)
    environment = dict(sources, F=name)
    words = [f"{key}={value}" for key, value in environment.items()]
    run("env", "-C", shared[1].mount, *words, *shell_argv, "-c", script)
    catch_up(shared[2])
    return reader.turn_to(""), before, version(shared[2], name)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("shell_name", SHELLS)
def test_shell_publishes_once(shared, reader, sources, shell_name, script):
    words, expected = SCRIPTS[script]
    seen, before, after = publish(shared, reader, sources, SHELLS[shell_name], f"{shell_name}-{script}", words)
    assert seen in ([OLD, expected], [expected])
    assert after == before + 1


@pytest.mark.parametrize("script", PROGRAMS)
def test_program_publishes_once(shared, reader, sources, script):
    words, expected = PROGRAMS[script]
    seen, before, after = publish(shared, reader, sources, SHELLS["bash"], f"program-{script}", words)
    assert seen in ([OLD, expected], [expected])
    assert after == before + 1


@pytest.mark.parametrize("script", REPLACING)
def test_replacing(shared, reader, sources, script):
    words, expected, between = REPLACING[script]
    name = "tarred" if script == "tar" else f"replacing-{script}"
    seen, _, _ = publish(shared, reader, sources, SHELLS["bash"], name, words)
    assert seen[-1] == expected
    assert set(seen) <= {OLD, expected, *between}


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


# ---- appends ----

APPENDER = """
import os, sys
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
fd = os.open(path, os.O_WRONLY | os.O_APPEND)
for number in range(count):
    line = f"{name} {number} {'x' * (number * 997 % 5000)} end\\n".encode()
    assert os.write(fd, line) == len(line)
os.close(fd)
"""


def test_appends_from_everywhere(shared):
    count = 60
    shared[1].write("appended", "")
    shared.wait_equal()
    writers = [subprocess.Popen([sys.executable, "-c", APPENDER, peer.path("appended"), f"{peer.sid}.{number}",
                                 str(count)]) for peer in shared for number in range(2)]
    for writer in writers:
        assert writer.wait(60) == 0
    expected = {f"{sid}.{writer} {number} {'x' * (number * 997 % 5000)} end"
                for sid in (1, 2, 3) for writer in (0, 1) for number in range(count)}
    for peer in shared:
        catch_up(peer)
        lines = peer.read("appended").splitlines()
        assert len(lines) == len(expected) and set(lines) == expected
        for name in (f"{sid}.{writer}" for sid in (1, 2, 3) for writer in (0, 1)):
            numbers = [int(line.split()[1]) for line in lines if line.startswith(name + " ")]
            assert numbers == sorted(numbers), "one writer's appends are in its order"


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


# ---- attributes ----

def test_times_survive_publishing(shared, sources):
    run("touch", "-d", "@1000000000.123456789", sources["SRC"])
    run("cp", "-p", sources["SRC"], shared[1].path("kept-times"))
    run("touch", "-d", "@1111111111", os.path.join(shared.dir, "tarred"))
    shell(f"cd {shared.dir} && tar cf times.tar tarred && tar xf times.tar -C {shared[1].mount}")
    seen_everywhere(shared, "stat -c %.9Y kept-times tarred", "1000000000.123456789\n1111111111.000000000\n")


def test_mtime_grows(shared):
    times = []
    for number in range(10):
        shared[1].write("mtime", str(number))
        times.append(run("stat", "-c", "%.9Y", shared[1].path("mtime")))
    assert times == sorted(set(times))


def test_attributes_are_the_same_everywhere(shared):
    shell(f"""cd {shared[1].mount} && mkdir attrs && cd attrs && echo x > file && mkdir dir && ln -s file link &&
        chown 12:34 file && chmod 4750 file && touch -h -d @1234567890 link && chmod 1777 dir && chgrp 5 dir""")
    shared.wait_equal()
    script = "cd attrs && stat -c '%n %i %f %u %g %h %s %Y %o' file dir link . && readlink link"
    told = {shell(f"cd {peer.mount} && {script}") for peer in shared}
    assert len(told) == 1
    lines = told.pop().splitlines()
    assert lines[0].split()[2:7] == ["89e8", "12", "34", "1", "2"]
    assert lines[1].split()[2:6] == ["43ff", "0", "5", "2"]
    assert lines[2].split()[6:8] == ["4", "1234567890"]
    assert lines[0].split()[-1] == "1048576"
    assert lines[4] == "file"


def test_inode_numbers_are_never_used_again(shared):
    seen = set()
    for _ in range(5):
        seen.add(shell(f"cd {shared[1].mount} && echo x > reused && stat -c %i reused && rm reused"))
    assert len(seen) == 5


def test_refused_kinds(shared):
    path = shared[1].path("refused")
    for argv in (("mkfifo", path), ("mknod", path, "c", "1", "3"), ("ln", shared[1].path("attrs/file"), path)):
        assert "Operation not permitted" in run(*argv, check=False).stderr, argv
    python("import errno, socket, sys\ntry:\n    socket.socket(socket.AF_UNIX).bind(sys.argv[1])\n"
           "except OSError as e:\n    assert e.errno == errno.EPERM, e\nelse:\n    assert False", path)


def test_xattrs(shared):
    shared[1].write("xattrs", "x")
    name = shared[1].path("xattrs")
    run("setfattr", "-n", "user.colour", "-v", "blue", name)
    run("setfattr", "-n", "user.empty", name)
    catch_up(shared[2])
    python("import os, sys\np = sys.argv[1]\nassert os.getxattr(p, 'user.colour') == b'blue'\n"
           "assert os.getxattr(p, 'user.empty') == b''\n"
           "assert sorted(os.listxattr(p)) == ['user.colour', 'user.empty'], os.listxattr(p)\n", shared[2].path("xattrs"))
    run("setfattr", "-x", "user.colour", shared[2].path("xattrs"))
    seen_everywhere(shared, "getfattr xattrs", "# file: xattrs\nuser.empty\n\n")
    python("""import errno, os, sys
def fails(expected, call, *args):
    try:
        call(*args)
    except OSError as error:
        assert error.errno == expected, error
    else:
        assert False, (call, args)
p = sys.argv[1]
fails(errno.ENODATA, os.getxattr, p, "user.colour")
fails(errno.ENODATA, os.removexattr, p, "user.colour")
fails(errno.EEXIST, os.setxattr, p, "user.empty", b"x", os.XATTR_CREATE)
fails(errno.ENODATA, os.setxattr, p, "user.new", b"x", os.XATTR_REPLACE)
fails(errno.E2BIG, os.setxattr, p, "user.big", b"x" * 65537)
fails(errno.EOPNOTSUPP, os.setxattr, p, "trusted.x", b"x")
fails(errno.ENODATA, os.getxattr, p, "znode.nonsense")
os.setxattr(p, "user.large", b"x" * 65536)
assert os.getxattr(p, "user.large") == b"x" * 65536
os.removexattr(p, "user.large")
""", name)


def test_znode_xattrs(shared):
    shell(f"cd {shared[1].mount} && mkdir zx && echo hello > zx/file && echo again > zx/file && mkdir zx/sub && "
          "chmod 600 zx/file")
    shared.wait_equal()
    names = "version cversion aversion czxid mzxid pzxid ctime mtime ephemeralOwner dataLength numChildren".split()
    told = [{(file, name): run("getfattr", "--only-values", "-n", f"znode.{name}", peer.path(file))
             for file in ("zx", "zx/file") for name in names} for peer in shared]
    assert told[0] == told[1] == told[2]
    assert told[0]["zx/file", "version"] == "2"
    assert told[0]["zx/file", "dataLength"] == "6"
    assert told[0]["zx", "numChildren"] == "2"
    assert told[0]["zx", "cversion"] == "2"
    assert told[0]["zx/file", "ephemeralOwner"] == "0x0"
    assert int(told[0]["zx/file", "czxid"], 16) < int(told[0]["zx/file", "mzxid"], 16)
    assert run("getfattr", shared[1].path("zx/file")) == ""
    done = run("setfattr", "-n", "znode.version", "-v", "1", shared[1].path("zx/file"), check=False)
    assert "Operation not permitted" in done.stderr


def test_data_of_a_directory(shared):
    run("mkdir", shared[1].path("with-data"))
    run("setfattr", "-n", "user.znode.data", "-v", "own data", shared[1].path("with-data"))
    seen_everywhere(shared, "getfattr --only-values -n user.znode.data with-data", "own data")
    assert "user.znode.data" in run("getfattr", shared[1].path("with-data"))
    run("setfattr", "-x", "user.znode.data", shared[1].path("with-data"))
    assert run("getfattr", shared[1].path("with-data")) == ""


def test_statfs(shared):
    before = json.loads(python("import json, os, sys; print(json.dumps(list(os.statvfs(sys.argv[1]))))",
                               shared[1].mount))
    assert before[9] == 255
    assert before[2] > before[3] > 0 and before[5] > before[6] > 0
    shared[1].write("for-statfs", "x" * 1000000)
    after = json.loads(python("import json, os, sys; print(json.dumps(list(os.statvfs(sys.argv[1]))))",
                              shared[1].mount))
    assert (after[2] - after[3]) - (before[2] - before[3]) >= 1000000 // before[1]
    assert (after[5] - after[6]) == (before[5] - before[6]) + 1


# ---- names and directories ----

def test_names(shared):
    python("""import errno, os, sys
top = os.fsencode(sys.argv[1])
os.mkdir(top)
odd = [bytes(range(1, 47)), bytes(range(48, 256)), b"n" * 255, b" ", b"-rf", b"new\\nline", b"\\xff\\xfe", b"...",
       ".znodefs2".encode(), "\\u00e4\\u4e2d\\U0001f600".encode()]
for name in odd:
    with open(os.path.join(top, name), "wb") as file:
        file.write(name)
try:
    os.mkdir(os.path.join(top, b"n" * 256))
except OSError as error:
    assert error.errno == errno.ENAMETOOLONG, error
else:
    assert False
""", shared[1].path("names"))
    catch_up(shared[2])
    python("""import os, sys
top = os.fsencode(sys.argv[1])
names = os.listdir(top)
assert len(names) == 10, names
for name in names:
    with open(os.path.join(top, name), "rb") as file:
        assert file.read() == name, name
    os.rename(os.path.join(top, name), os.path.join(top, b"r" + name[1:]))
    os.unlink(os.path.join(top, b"r" + name[1:]))
os.rmdir(top)
""", shared[2].path("names"))


def test_moving_subtrees(shared):
    shell(f"cd {shared[1].mount} && mkdir -p from/a/b/c to && echo deep > from/a/b/c/file && ln -s file from/a/b/c/l")
    ino = run("stat", "-c", "%i", shared[1].path("from/a/b/c/file"))
    run("mv", shared[1].path("from/a"), shared[1].path("to/moved"))
    seen_everywhere(shared, "find from to | sort; cat to/moved/b/c/l",
                    "from\nto\nto/moved\nto/moved/b\nto/moved/b/c\nto/moved/b/c/file\nto/moved/b/c/l\ndeep\n")
    seen_everywhere(shared, "stat -c %i to/moved/b/c/file; stat -c %h to from", ino + "3\n2\n")
    for source, target in (("to", "to/moved/b/to"), ("to/moved", "from/missing/x")):
        assert run("mv", shared[1].path(source), shared[1].path(target), check=False).returncode != 0
    shell(f"cd {shared[2].mount} && mkdir from/full && echo x > from/full/x")
    assert run("mv", "-T", shared[1].path("to"), shared[1].path("from"), check=False).returncode != 0


RENAMEAT2 = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.renameat2(-100, os.fsencode(sys.argv[1]), -100, os.fsencode(sys.argv[2]), int(sys.argv[3])) != 0:
    sys.exit(ctypes.get_errno())
"""


def renameat2(peer, old, new, flags):
    return python(RENAMEAT2, peer.path(old), peer.path(new), str(flags), check=False).returncode


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "renameat2"), reason="the C library has no renameat2")
def test_rename_flags(shared):
    noreplace, exchange, whiteout = 1, 2, 4
    shell(f"cd {shared[1].mount} && mkdir rn rn/dir && echo a > rn/a && echo b > rn/b && echo in > rn/dir/in")
    assert renameat2(shared[1], "rn/a", "rn/b", noreplace) == 17
    assert renameat2(shared[1], "rn/a", "rn/c", exchange) == 2
    assert renameat2(shared[1], "rn/a", "rn/c", whiteout) == 22
    assert renameat2(shared[1], "rn/a", "rn/b", exchange) == 0
    seen_everywhere(shared, "cat rn/a rn/b", "b\na\n")
    assert renameat2(shared[1], "rn/a", "rn/dir", exchange) == 0
    seen_everywhere(shared, "cat rn/dir rn/a/in", "b\nin\n")
    assert renameat2(shared[1], "rn/b", "rn/c", noreplace) == 0
    seen_everywhere(shared, "ls rn", "a\nc\ndir\n")


def test_who_creates_wins_once(shared):
    """O_EXCL from three mounts at once: one is first."""
    for number in range(5):
        script = (f"import os, sys\ntry:\n    os.open(sys.argv[1], os.O_CREAT | os.O_EXCL)\n"
                  "except FileExistsError:\n    sys.exit(17)\n")
        racers = [subprocess.Popen([sys.executable, "-c", script, peer.path(f"exclusive-{number}")])
                  for peer in shared for _ in range(2)]
        assert sorted(racer.wait(30) for racer in racers) == [0, 17, 17, 17, 17, 17]


def test_trees_are_equal(shared):
    shared.assert_same_trees()


# ---- listings ----

STAYING = 5000
FILLER = """
import os, sys
top, start, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for number in range(start, start + count):
    os.mknod(os.path.join(top, f"stays-{number}"))
"""
CHURNER = """
import os, sys
top, name = sys.argv[1:]
number = 0
while not os.path.exists(sys.argv[1] + "/../listed-enough"):
    for each in range(20):
        os.mknod(os.path.join(top, f"goes-{name}-{number + each}"))
    for each in range(20):
        os.unlink(os.path.join(top, f"goes-{name}-{number + each}"))
    number += 20
print(number)
"""
LISTER = """
import os, sys
for _ in range(int(sys.argv[2])):
    names = os.listdir(sys.argv[1])
    stays = [name for name in names if name.startswith("stays-")]
    assert len(stays) == len(set(stays)), "listed twice"
    assert len(stays) == int(sys.argv[3]), f"{len(stays)} listed"
    assert len(names) == len(set(names)), "a name that came and went is listed twice"
"""


def test_listing_while_others_create_and_delete(shared):
    run("mkdir", shared[1].path("many"))
    for peer in shared:
        catch_up(peer)
    third = STAYING // 3
    fillers = [subprocess.Popen([sys.executable, "-c", FILLER, peer.path("many"), str(at * third),
                                 str(third if at < 2 else STAYING - 2 * third)]) for at, peer in enumerate(shared)]
    for filler in fillers:
        assert filler.wait(120) == 0
    shared.wait_equal()
    churners = [subprocess.Popen([sys.executable, "-c", CHURNER, shared[sid].path("many"), str(sid)],
                                 stdout=subprocess.PIPE, text=True) for sid in (1, 2)]
    try:
        for peer in shared:
            python(LISTER, peer.path("many"), "10", str(STAYING), deadline=60)
        shared[3].write("listed-enough", "")
        for churner in churners:
            assert int(churner.communicate(timeout=60)[0]) > 0
    finally:
        for churner in churners:
            churner.kill()
            churner.wait(30)


# ---- mount options ----

def test_sync_mount(make_ensemble):
    """Every write is its own transaction."""
    peer = make_ensemble(1, options=("sync",))[1]
    shell(f"cd {peer.mount} && echo old > f && {{ echo a; head f > seen; echo b; }} > f")
    assert peer.read("f") == "a\nb\n"
    assert peer.read("seen") == "a\n"
    shell(f"cd {peer.mount} && : > f")
    assert peer.read("f") == ""


def test_read_only_mount(make_ensemble):
    peer = make_ensemble(1)[1]
    shell(f"cd {peer.mount} && echo x > f")
    peer.restart("ro")
    wait_until(lambda: peer.read("f") == "x\n", 10, "the file")
    for argv in (("touch", peer.path("f")), ("mkdir", peer.path("d")), ("rm", "-f", peer.path("f"))):
        assert "Read-only file system" in run(*argv, check=False).stderr
    assert peer.status()["state"] == "leading"


# ---- odds and ends that programs do ----

def test_mappings(shared):
    """Private ones show the contents; shared writable ones can't be published whole and are refused."""
    shared[1].write("mapped", LONG)
    python("""import errno, mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
size = os.fstat(fd).st_size
private = mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE)
assert private[:] == open(sys.argv[2], "rb").read()
private[0:1] = b"X"
try:
    mmap.mmap(fd, size, flags=mmap.MAP_SHARED)
except OSError as error:
    assert error.errno == errno.ENODEV, error
else:
    assert False
""", shared[1].path("mapped"), shared[1].path("mapped"))
    assert shared[1].read("mapped") == LONG


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
