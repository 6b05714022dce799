"""Directories: listed while others change them, removed while they are in use, deep; and names."""

import os
import subprocess
import sys

import pytest
from lib.ensemble import SANITIZED, run, shell
from lib.files import Held, catch_up, python, seen_everywhere

pytestmark = pytest.mark.root

ENOENT, ENODATA, EOPNOTSUPP = 2, 61, 95


@pytest.fixture
def held():
    made = []

    def make():
        made.append(Held())
        return made[-1]

    yield make
    for each in made:
        each.kill()


# ---- listings ----

MANY = 20000 if SANITIZED else 200000
FILL_DEADLINE = 400
LISTINGS = 3

# Every fourth goes again while the directory is listed, so that holes are squeezed out under the listings.
FILLER = """
import os, sys
os.chdir(sys.argv[1])
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    os.mknod(f"stays-{number}")
    if number % 4 == 0:
        os.mknod(f"goes-{number}")
"""
CHURNER = """
import os, sys
os.chdir(sys.argv[1])
name, begin, end = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
print("begun", flush=True)
count = 0
while not os.path.exists("../listed-enough"):
    for each in range(begin, min(begin + 40, end)):
        if each % 4 == 0:
            os.unlink(f"goes-{each}")
    begin = min(begin + 40, end)
    for each in range(20):
        os.mknod(f"comes-{name}-{count + each}")
    for each in range(0, 20, 2):
        os.rename(f"comes-{name}-{count + each}", f"moved-{name}-{count + each}")
    for each in range(20):
        os.unlink(f"{'comes' if each % 2 else 'moved'}-{name}-{count + each}")
    count += 20
print(count)
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


def test_large_directory_is_listed_while_others_change_it(shared):
    """Every entry that was there throughout is listed exactly once."""
    run("mkdir", shared[1].path("large"))
    for peer in shared:
        catch_up(peer)
    share = MANY // len(shared.peers) + 1
    parts = [(peer, at * share, min(MANY, (at + 1) * share)) for at, peer in enumerate(shared)]
    fillers = [subprocess.Popen([sys.executable, "-c", FILLER, peer.path("large"), str(begin), str(end)])
               for peer, begin, end in parts]
    for filler in fillers:
        assert filler.wait(FILL_DEADLINE) == 0
    shared.wait_equal()
    churners = [subprocess.Popen([sys.executable, "-c", CHURNER, peer.path("large"), str(peer.sid), str(begin),
                                  str(end)], stdout=subprocess.PIPE, text=True) for peer, begin, end in parts]
    try:
        for churner in churners:
            assert churner.stdout.readline() == "begun\n"
        listers = [subprocess.Popen([sys.executable, "-c", LISTER, peer.path("large"), str(LISTINGS), str(MANY)])
                   for peer in shared]
        for lister in listers:
            assert lister.wait(FILL_DEADLINE) == 0
        shared[3].write("listed-enough", "")
        for churner in churners:
            assert int(churner.communicate(timeout=60)[0]) > 0, "nothing was changed meanwhile"
    finally:
        for churner in churners:
            churner.kill()
            churner.wait(30)
    shared.wait_equal()
    counts = {run("getfattr", "--only-values", "-n", "znode.numChildren", peer.path("large")) for peer in shared}
    assert len(counts) == 1


def test_listing_goes_on_where_it_stood(shared):
    """A directory that is open while another mount removes and adds most of it."""
    shell(f"cd {shared[1].mount} && mkdir stood && cd stood && seq -f e%g 3000 | xargs touch", deadline=60)
    shared.wait_equal()
    python("""import os, subprocess, sys
here, there = sys.argv[1:]
with os.scandir(here) as listing:
    first = [next(listing).name for _ in range(10)]
    subprocess.run(["sh", "-c", "seq -f e%g 101 2900 | xargs rm; seq -f n%g 2000 | xargs touch; sync ."], cwd=there,
                   check=True)
    subprocess.run(["sync", here], check=True)
    rest = [entry.name for entry in listing]
names = first + rest
assert len(names) == len(set(names)), "listed twice"
stayed = {f"e{number}" for number in (*range(1, 101), *range(2901, 3001))}
assert stayed <= set(names), sorted(stayed - set(names))
""", shared[2].path("stood"), shared[1].path("stood"), deadline=60)


# ---- removed while it is in use ----

@pytest.mark.parametrize("remover", [1, 2])
def test_working_directory_is_removed(shared, held, remover):
    """By another mount too: what is done there is ENOENT, and one gets out again."""
    name = f"cwd-{remover}"
    run("mkdir", shared[1].path(name))
    catch_up(shared[2])
    process = held()
    assert process.do(f"os.chdir({shared[1].path(name)!r})") == 0
    run("rmdir", shared[remover].path(name))
    catch_up(shared[1])
    assert process.do("assert os.stat('.').st_nlink == 0") == 0
    assert process.do("os.mkdir('x')") == ENOENT
    assert process.do("os.open('f', os.O_CREAT | os.O_WRONLY)") == ENOENT
    assert process.do("os.stat('x')") == ENOENT
    assert process.do("os.chdir('..'); os.stat('.')") == 0
    assert process.do(f"os.stat({name!r})") == ENOENT


@pytest.mark.parametrize("remover", [1, 2])
def test_open_directory_is_removed(shared, held, remover):
    name = f"open-{remover}"
    shell(f"cd {shared[1].mount} && mkdir {name} && chmod 711 {name}")
    catch_up(shared[2])
    process = held()
    assert process.do(f"fd = os.open({shared[1].path(name)!r}, os.O_RDONLY)") == 0
    run("rmdir", shared[remover].path(name))
    shell(f"mkdir {shared[remover].path(name)} && touch {shared[remover].path(name)}/other")
    catch_up(shared[1])
    assert process.do("assert os.fstat(fd).st_nlink == 0 and os.fstat(fd).st_mode == 0o40711") == 0
    assert process.do("os.stat('other', dir_fd=fd)") == ENOENT
    assert process.do("os.mkdir('x', dir_fd=fd)") == ENOENT
    assert process.do("os.close(fd)") == 0
    assert run("ls", shared[1].path(name)) == "other\n"


@pytest.mark.parametrize("remover", [1, 2])
def test_attributes_of_an_open_file_stay(shared, held, remover):
    name = f"attributes-{remover}"
    shared[1].write(name, "x")
    run("setfattr", "-n", "user.a", "-v", "kept", shared[1].path(name))
    catch_up(shared[2])
    process = held()
    assert process.do(f"fd = os.open({shared[1].path(name)!r}, os.O_RDWR)") == 0
    run("rm", shared[remover].path(name))
    catch_up(shared[1])
    assert process.do("assert os.getxattr(fd, 'user.a') == b'kept' and os.listxattr(fd) == ['user.a']") == 0
    assert process.do("os.setxattr(fd, 'user.b', b'2'); assert os.listxattr(fd) == ['user.a', 'user.b']") == 0
    assert process.do("os.removexattr(fd, 'user.a')") == 0
    assert process.do("os.getxattr(fd, 'user.a')") == ENODATA
    assert process.do("os.setxattr(fd, 'trusted.a', b'1')") == EOPNOTSUPP


def test_directories_are_removed_from_inside(shared):
    """By a shell that stands there, again and again."""
    shell(f"""cd {shared[1].mount} && for i in $(seq 50); do
        mkdir -p gone/$i/x; (cd gone/$i; rm -r ../../gone/$i; ls -d . >/dev/null)
        done; rmdir gone""", deadline=60)
    shared.wait_equal()
    seen_everywhere(shared, "ls -d gone 2>/dev/null || true", "")


# ---- deep trees and long names ----

DEEP = """
import os, sys
os.chdir(sys.argv[1])
name = "d" * 250
for depth in range(40):
    os.mkdir(name)
    os.chdir(name)
with open("bottom", "w") as file:
    file.write("here")
"""
DOWN = """
import os, sys
os.chdir(sys.argv[1])
for depth in range(40):
    os.chdir("d" * 250)
assert open("bottom").read() == "here"
assert os.listdir(".") == ["bottom"]
"""


def test_deeper_than_a_path_is_long(shared):
    """Paths end at 4096 bytes; trees do not."""
    run("mkdir", shared[1].path("deep"))
    python(DEEP, shared[1].path("deep"))
    for peer in shared:
        catch_up(peer)
        python(DOWN, peer.path("deep"))
    # It moves as one, however much is below.
    run("mv", shared[2].path("deep"), shared[2].path("deeper"))
    catch_up(shared[3])
    python(DOWN, shared[3].path("deeper"))
    assert int(run("sh", "-c", f"find {shared[1].path('deeper')} | wc -l")) == 42
    run("rm", "-r", shared[1].path("deeper"))
    seen_everywhere(shared, "ls -d deep* 2>/dev/null || true", "")


def test_many_levels(shared):
    """More levels than a program should recurse; removed through another mount."""
    python("import os, sys\nos.chdir(sys.argv[1])\nos.mkdir('levels')\nos.chdir('levels')\n"
           "for i in range(2000):\n    os.mkdir('l')\n    os.chdir('l')\n", shared[1].mount, deadline=60)
    catch_up(shared[2])
    run("rm", "-r", shared[2].path("levels"), deadline=60)
    seen_everywhere(shared, "ls -d levels 2>/dev/null || true", "")


def test_names_of_any_byte_at_any_place(shared):
    """255 bytes, none of them / or NUL: made on one mount, found, renamed and removed on the others."""
    python("""import os, random, sys
tops = [os.fsencode(top) for top in sys.argv[1:]]
random.seed(1)
allowed = [byte for byte in range(1, 256) if byte != 0x2f]
names = {bytes(random.choices(allowed, k=255)) for _ in range(50)}
names |= {bytes([byte]) * 255 for byte in allowed if byte != 0x2e}
names |= {b"." * 255, b".znodefs" + b"x" * 247}
os.mkdir(tops[0])
for name in names:
    os.mknod(os.path.join(tops[0], name))
os.sync()
fd = os.open(tops[1], os.O_RDONLY)
os.fsync(fd)
assert set(os.listdir(tops[1])) == names
for name in names:
    os.rename(os.path.join(tops[1], name), os.path.join(tops[1], b"r" + name[:100]))
fd = os.open(tops[2], os.O_RDONLY)
os.fsync(fd)
assert set(os.listdir(tops[2])) == {b"r" + name[:100] for name in names}
for name in os.listdir(tops[2]):
    os.unlink(os.path.join(tops[2], name))
os.rmdir(tops[2])
""", *(peer.path("any-byte") for peer in shared), deadline=60)


# ---- between mounts ----

@pytest.fixture(scope="module")
def for_all(session_dir, shared):
    """The mounts can be reached by other users."""
    for path in (session_dir, shared.dir):
        os.chmod(path, 0o755)
    return shared


def test_permissions_hold_on_every_mount(for_all):
    """What one mount allows or forbids is allowed or forbidden on the others, for users and groups."""
    as_user = ("setpriv", "--reuid=5001", "--regid=6001", "--groups=6002")
    shell(f"cd {for_all[1].mount} && mkdir -m 755 perm && cd perm && echo x > file && chmod 640 file && chgrp 6002 file")
    for_all.wait_equal()
    for peer in for_all:
        assert run(*as_user, "cat", peer.path("perm/file")) == "x\n"
        assert run("setpriv", "--reuid=5001", "--regid=6001", "--clear-groups", "cat", peer.path("perm/file"),
                   check=False).returncode != 0
        assert run(*as_user, "touch", peer.path("perm/new"), check=False).returncode != 0
    run("chmod", "1777", for_all[2].path("perm"))
    run("chmod", "600", for_all[2].path("perm/file"))
    for_all.wait_equal()
    for peer in for_all:
        assert run(*as_user, "cat", peer.path("perm/file"), check=False).returncode != 0
        run(*as_user, "touch", peer.path(f"perm/{peer.sid}"))
        assert run(*as_user, "rm", "-f", peer.path("perm/file"), check=False).returncode != 0, "sticky"
    seen_everywhere(for_all, "stat -c '%n %u:%g' perm/[123]", "".join(f"perm/{sid} 5001:6001\n" for sid in (1, 2, 3)))


def test_set_id_bits_go_with_new_contents(for_all):
    """Nobody sees new contents by an unprivileged writer with the old set-id bits."""
    shell(f"cd {for_all[1].mount} && echo old > setid && chmod 6777 setid")
    for_all.wait_equal()
    run("setpriv", "--reuid=5001", "--regid=6001", "--clear-groups", "sh", "-c", "echo new > \"$0\"",
        for_all[2].path("setid"))
    seen_everywhere(for_all, "cat setid; stat -c %a setid", "new\n777\n")
    run("chmod", "6777", for_all[1].path("setid"))
    shell(f"echo root > {for_all[3].path('setid')}")
    seen_everywhere(for_all, "cat setid; stat -c %a setid", "root\n6777\n")


def test_mtime_grows_whoever_writes(shared):
    """Strictly, from mount to mount, for files and directories, with appends and truncations."""
    shell(f"mkdir {shared[1].path('grows')} && touch {shared[1].path('grows/f')}")
    shared.wait_equal()
    of_file, of_folder = [], []
    for number in range(5):
        for peer in shared:
            catch_up(peer)
            shell(f"cd {peer.path('grows')} && echo x >> f && truncate -s {number} f && echo y > f && "
                  f"touch n{number}{peer.sid}")
            one, other = run("stat", "-c", "%.9Y", peer.path("grows/f"), peer.path("grows")).split()
            of_file.append(one)
            of_folder.append(other)
    assert of_file == sorted(set(of_file))
    assert of_folder == sorted(set(of_folder))


# ---- attributes ----

def test_xattr_limits(shared):
    """64 KiB a value, 4096 attributes and 256 KiB a file; beyond, nothing has changed."""
    path = shared[1].path("limits")
    shared[1].write("limits", "")
    python("""import errno, os, sys
def fails(expected, call, *args):
    try:
        call(*args)
    except OSError as error:
        assert error.errno == expected, error
    else:
        assert False, (call, args)
p = sys.argv[1]
os.setxattr(p, "user." + "n" * 250, b"x")
fails(errno.ERANGE, os.setxattr, p, "user." + "n" * 251, b"x")
for number in range(3):
    os.setxattr(p, f"user.big{number}", b"x" * 65536)
fails(errno.E2BIG, os.setxattr, p, "user.toobig", b"x" * 65537)
fails(errno.ENOSPC, os.setxattr, p, "user.big3", b"x" * 65536)
os.setxattr(p, "user.big2", b"y" * 65536)
os.removexattr(p, "user.big0")
os.setxattr(p, "user.big3", b"x" * 65536)
for number in range(1, 4):
    os.removexattr(p, f"user.big{number}")
for number in range(4095):
    os.setxattr(p, f"user.{number}", b"")
fails(errno.ENOSPC, os.setxattr, p, "user.more", b"")
assert len(os.listxattr(p)) == 4096
os.setxattr(p, "user.17", b"again", os.XATTR_REPLACE)
""", path, deadline=60)
    catch_up(shared[2])
    python("import os, sys\nassert len(os.listxattr(sys.argv[1])) == 4096\n"
           "assert os.getxattr(sys.argv[1], 'user.17') == b'again'", shared[2].path("limits"))


def test_znode_attributes_are_read_only(shared):
    shell(f"cd {shared[1].mount} && mkdir ro && echo x > ro/f && ln -s f ro/l")
    python("""import errno, os, sys
def fails(expected, call, *args, **more):
    try:
        call(*args, **more)
    except OSError as error:
        assert error.errno == expected, (error, args)
    else:
        assert False, (call, args)
os.chdir(sys.argv[1])
for name in ("version", "czxid", "dataLength", "nothing"):
    for path in (".", "f"):
        fails(errno.EPERM, os.setxattr, path, "znode." + name, b"1")
        fails(errno.EPERM, os.removexattr, path, "znode." + name)
assert os.getxattr("l", "znode.dataLength", follow_symlinks=False) == b"1"
assert os.getxattr("l", "znode.dataLength") == b"2"
assert not [name for path in (".", "f", "l") for name in os.listxattr(path, follow_symlinks=False)]
for path in (".", "f"):
    fails(errno.ENODATA, os.getxattr, path, "znode.")
    fails(errno.ENODATA, os.getxattr, path, "znode.fence")
""", shared[1].path("ro"))


def test_data_of_a_directory_in_full(shared):
    """user.znode.data: up to 64 KiB, with setxattr's flags; a change of the directory's data, not of its children."""
    run("mkdir", shared[1].path("own"))
    python("""import errno, os, sys
def fails(expected, call, *args):
    try:
        call(*args)
    except OSError as error:
        assert error.errno == expected, error
    else:
        assert False, (call, args)
d, f = sys.argv[1], sys.argv[1] + "/f"
name = "user.znode.data"
def number(which):
    return int(os.getxattr(d, "znode." + which))
fails(errno.ENODATA, os.getxattr, d, name)
fails(errno.ENODATA, os.removexattr, d, name)
fails(errno.ENODATA, os.setxattr, d, name, b"x", os.XATTR_REPLACE)
os.setxattr(d, name, b"first", os.XATTR_CREATE)
fails(errno.EEXIST, os.setxattr, d, name, b"x", os.XATTR_CREATE)
assert (number("version"), number("dataLength"), number("cversion")) == (1, 5, 0)
os.setxattr(d, name, b"x" * 65536)
assert os.getxattr(d, name) == b"x" * 65536
os.setxattr(d, "user.other", b"1")
assert sorted(os.listxattr(d)) == ["user.other", name]
open(f, "w").close()
fails(errno.EOPNOTSUPP, os.setxattr, f, name, b"x")
fails(errno.ENODATA, os.getxattr, f, name)
os.removexattr(d, name)
assert os.listxattr(d) == ["user.other"]
assert number("version") == 3
""", shared[1].path("own"))
    seen_everywhere(shared, "getfattr --only-values -n znode.version own", "3")
