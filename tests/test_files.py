"""What a file is here besides its contents: attributes, names, listings, mount options."""

import ctypes
import json
import os
import subprocess
import sys

import pytest
from lib.ensemble import run, shell, wait_until
from lib.files import catch_up, python, seen_everywhere

pytestmark = pytest.mark.root

# ---- attributes ----

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


def test_times_far_away(shared):
    """Nanoseconds in 64 bits end in 2262: a later time is that one, and not one of long ago."""
    shell(f"cd {shared[1].mount} && touch -d '5000-01-01 UTC' far && touch -d '1960-01-01 00:00:00.5 UTC' before && "
          "touch -d '0001-01-01 UTC' long-before")
    shared.wait_equal()
    for peer in shared:
        assert shell(f"cd {peer.mount} && stat -c %Y far before long-before").split() == ["9223372036", "-315619200",
                                                                                          "-9223372037"]
    # The same for a file that is deleted but open.
    told = python("import os, sys; fd = os.open(sys.argv[1], os.O_RDWR); os.unlink(sys.argv[1]); "
                  "os.utime(fd, ns=(-500000000, -1500000000)); st = os.fstat(fd); print(st.st_atime_ns, st.st_mtime_ns)",
                  shared[1].path("far"))
    assert told.split() == ["-500000000", "-1500000000"]


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


def test_options_of_mount_and_fuse(make_ensemble):
    """Those that fstab has, and a bound on reads: they come in pieces, of one version."""
    peer = make_ensemble(1, options=("rw,suid,dev,exec,atime,nodiratime,relatime,max_read=4096",))[1]
    contents = "".join(f"{number}\n" for number in range(20000))
    peer.write("f", contents)
    assert peer.read("f") == contents


# ---- odds and ends that programs do ----

def test_mappings(shared):
    """Private ones show the contents; shared writable ones can't be published whole and are refused."""
    contents = "".join(f"line {number} of several pages\n" for number in range(1000))
    shared[1].write("mapped", contents)
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
    assert shared[1].read("mapped") == contents


def test_a_mapping_shows_one_version(shared):
    """Whatever order its pages are asked for, and although the kernel dropped them meanwhile; a later mapping shows what
    there is by then, and with it all do."""
    size = 256 * 4096
    shared[1].write("mapped-while", "1" * size)
    python("""import mmap, os, subprocess, sys
def mapped():
    fd = os.open(sys.argv[1], os.O_RDONLY)
    return fd, mmap.mmap(fd, 256 * 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
def shows(pages):
    return {pages[at:at + 1] for at in range(0, 256 * 4096, 4096)}
first, pages = mapped()
assert pages[200 * 4096:200 * 4096 + 1] == b"1"
subprocess.run(["dd", "of=" + sys.argv[2], "bs=1M", "status=none"], input=b"2" * 256 * 4096, check=True)
subprocess.run(["sync", sys.argv[1]], check=True)
assert open(sys.argv[1], "rb").read(1) == b"2"
assert shows(pages) == {b"1"}
second, new = mapped()
assert shows(new) == {b"2"}
assert len(shows(pages)) == 1
""", shared[1].path("mapped-while"), shared[2].path("mapped-while"))


def test_names_replaced_all_the_time(shared):
    """Who opens or asks a name that others replace and remove finds one of its files, or none."""
    script = """import os, random, sys, threading, time
names = [f"{sys.argv[1]}/replaced-{number}" for number in range(3)]
end = time.monotonic() + 2
def call(function, *args):
    try:
        return function(*args)
    except FileNotFoundError:
        return None
def replace(which):
    while time.monotonic() < end:
        new = f"{sys.argv[1]}/new-{which.random()}"
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT, 0o644))
        os.rename(new, which.choice(names))
        if which.random() < 0.2:
            call(os.unlink, which.choice(names))
def ask(which):
    while time.monotonic() < end:
        fd = call(os.open, which.choice(names), os.O_RDONLY)
        if fd is not None:
            os.close(fd)
        call(os.stat, which.choice(names))
        call(os.chmod, which.choice(names), 0o600)
wrong = []
def guarded(what, which):
    try:
        what(which)
    except OSError as error:
        wrong.append(error)
threads = [threading.Thread(target=guarded, args=(what, random.Random(f"{sys.argv[1]} {seed}"))) for seed in range(2)
           for what in (replace, ask)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not wrong, wrong
"""
    done = [subprocess.Popen([sys.executable, "-c", script, peer.mount], stderr=subprocess.PIPE) for peer in shared]
    assert [process.communicate(timeout=60)[1] for process in done] == [b"", b"", b""]
