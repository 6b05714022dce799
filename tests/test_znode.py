"""`.znodefs/snapshot`, and `znode`, which makes backups of it."""

import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile

import pytest
from lib.ensemble import BINARY, ENVIRONMENT, ROOT, SANITIZED, run, shell, unmount, wait_until

pytestmark = pytest.mark.root

ZNODE = os.path.join(os.path.dirname(BINARY), "znode")
EXPORTS_MAX = 4  # fs/export.h
MIB = 1 << 20

# Exit codes of znode.
NO_QUORUM, ABSENT, EXISTS, REFUSED = 6, 8, 9, 10


def python(code, *argv, deadline=60, check=True):
    return run(sys.executable, "-c", code, *argv, deadline=deadline, check=check)


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        return children.read().split()


@pytest.fixture
def one(make_ensemble):
    return make_ensemble(1)[1]


class TestSnapshotFile:
    def test_is_for_the_daemons_user_alone(self, one):
        os_error = ("import os, sys\n"
                    "os.chdir(sys.argv[1])\n"
                    "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
                    "open('.znodefs/status', 'rb').close()\n"
                    "try: open('.znodefs/snapshot', 'rb')\n"
                    "except OSError as error: print(error.errno)\n")
        snapshot = one.path(".znodefs/snapshot")
        assert run("stat", "-c", "%a %u %g", snapshot) == "400 0 0\n"
        assert python(os_error, one.mount) == "13\n"
        assert run("sh", "-c", f": > {snapshot}", check=False).returncode != 0

    def test_so_many_at_once_and_each_from_beginning_to_end(self, one):
        many = ("import os, sys\n"
                "fds = [os.open(sys.argv[1], os.O_RDONLY) for _ in range(int(sys.argv[2]))]\n"
                "try: os.open(sys.argv[1], os.O_RDONLY)\n"
                "except OSError as error: print(error.errno)\n"
                "try: os.pread(fds[0], 10, 5)\n"
                "except OSError as error: print(error.errno)\n"
                "def again():\n"
                "    while True:\n"
                "        try: return os.open(sys.argv[1], os.O_RDONLY)\n"
                "        except OSError as error: assert error.errno == 16  # the one that was closed ends later\n"
                "for turn in range(30):\n"
                "    os.close(fds.pop())\n"
                "    fds.append(again())\n"
                "    data = {b''.join(iter(lambda: os.read(fd, 7), b'')) for fd in fds}\n"
                "    assert len(data) == 1 and len(data.pop()) > 100\n"
                "    for fd in fds: os.close(fd)\n"
                "    fds = [again() for _ in fds]\n")
        assert python(many, one.path(".znodefs/snapshot"), str(EXPORTS_MAX)).split() == ["16", "29"]

    def test_of_a_directory_that_is_gone(self, one):
        gone = ("import os, sys\n"
                "os.mkdir(sys.argv[1]); os.chdir(sys.argv[1]); os.stat('.znodefs/snapshot'); os.rmdir(sys.argv[1])\n"
                "try: os.open('.znodefs/snapshot', os.O_RDONLY)\n"
                "except OSError as error: print(error.errno)\n")
        assert python(gone, one.path("dir")) in ("2\n", "116\n")

    def test_a_killed_reader_leaves_no_child(self, one):
        fill = "import sys\nfor i in range(8): open(f'{sys.argv[1]}/{i}', 'wb').write(bytes([i]) * 1048576)\n"
        python(fill, one.mount)
        hold = "import sys, time\nf = open(sys.argv[1], 'rb', 0); f.read(1000); print('got'); sys.stdout.flush(); f.read(1)\ntime.sleep(600)\n"
        reader = subprocess.Popen([sys.executable, "-c", hold, one.path(".znodefs/snapshot")], stdout=subprocess.PIPE)
        assert reader.stdout.readline() == b"got\n"
        assert len(children_of(one.process.pid)) == 1
        reader.send_signal(signal.SIGKILL)
        reader.wait(30)
        reader.stdout.close()
        wait_until(lambda: children_of(one.process.pid) == [], what="the child to go")

    def test_a_killed_daemon_takes_its_child_along(self, one):
        python("import sys\nfor i in range(8): open(f'{sys.argv[1]}/{i}', 'wb').write(bytes([i]) * 1048576)\n", one.mount)
        hold = ("import os, sys\nf = open(sys.argv[1], 'rb', 0); f.read(1000); print('got'); sys.stdout.flush()\n"
                "sys.stdin.readline()\n"
                "try:\n    while f.read(1000000): pass\n    print('end')\n"
                "except OSError as error: print(error.errno)\n")
        reader = subprocess.Popen([sys.executable, "-c", hold, one.path(".znodefs/snapshot")], stdout=subprocess.PIPE,
                                  stdin=subprocess.PIPE, text=True)
        assert reader.stdout.readline() == "got\n"
        child = children_of(one.process.pid)[0]
        one.kill9()
        wait_until(lambda: not os.path.exists(f"/proc/{child}"), what="the child to go")
        assert reader.communicate("\n", timeout=30)[0] == "107\n"  # ENOTCONN

    def test_an_unmount_with_one_open(self, one):
        """SIGTERM detaches the mount; nothing is left, and who reads on is told."""
        hold = ("import os, sys\nf = open(sys.argv[1], 'rb', 0); f.read(10); print('got'); sys.stdout.flush()\n"
                "sys.stdin.readline()\n"
                "try: f.read(1000000); print('read')\n"
                "except OSError as error: print(error.errno)\n")
        reader = subprocess.Popen([sys.executable, "-c", hold, one.path(".znodefs/snapshot")], stdout=subprocess.PIPE,
                                  stdin=subprocess.PIPE, text=True)
        assert reader.stdout.readline() == "got\n"
        one.stop()
        assert reader.communicate("\n", timeout=30)[0] == "107\n"


# ---- the tool ----


def znode(*argv, stdin=None, deadline=60):
    """Runs znode; what became of it, with bytes."""
    done = subprocess.run([ZNODE, *argv], input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
                          capture_output=True, timeout=deadline, check=False, env=ENVIRONMENT)
    assert done.returncode >= 0 and b"Sanitizer" not in done.stderr, done.stderr
    return done


def succeed(*argv, **more):
    done = znode(*argv, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fail(code, words, *argv, **more):
    done = znode(*argv, **more)
    assert done.returncode == code, (done.returncode, done.stderr)
    assert words in done.stderr.decode(errors="replace"), done.stderr
    return done


def members(archive):
    with tarfile.open(fileobj=io.BytesIO(archive), encoding="utf-8", errors="surrogateescape") as tar:
        return {each.name: (each, tar.extractfile(each).read() if each.isreg() else None) for each in tar}


def contents(archive):
    """All that a restored tree has in common with what was exported."""
    return {name: (each.type, each.mode, each.uid, each.gid, each.linkname, data,
                   {key: value for key, value in each.pax_headers.items() if key not in ("comment", "path", "linkpath")})
            for name, (each, data) in members(archive).items()}


def zxid_of(archive):
    return int(re.search(rb"zxid=(0x[0-9a-f]+)", archive[:2048])[1], 16)


def make_tar(*entries, **more):
    """Of (TarInfo, data or None)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=more.get("format", tarfile.PAX_FORMAT)) as tar:
        for info, data in entries:
            info.size = len(data or b"")
            tar.addfile(info, io.BytesIO(data) if data is not None else None)
    return out.getvalue()


def info(name, kind=tarfile.REGTYPE, linkname="", mode=0o644, **more):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode, entry.mtime = kind, linkname, mode, 1000000000
    for key, value in more.items():
        setattr(entry, key, value)
    return entry


# Everything that a znode can be; sys.argv[1] is the directory, which is made.
ODD_TREE = """
import os, sys
os.umask(0)
top = os.fsencode(sys.argv[1])
os.mkdir(top, 0o751)
def file(name, data=b'x', mode=0o644):
    fd = os.open(top + b'/' + name, os.O_WRONLY | os.O_CREAT, mode)
    os.write(fd, data)
    os.close(fd)
for n, name in enumerate([b'new\\nline', b'\\xff\\xfe', b'\\xc3\\xa4\\xe4\\xb8\\xad', b'n' * 255, b' ', b'-rf', b'a\\\\b', b'100%3D', b"q'\\""]):
    file(name, b'contents %d' % n)
file(b'empty', b'')
file(b'large', bytes(range(256)) * 4096)
file(b'modes', mode=0o4751)
os.chown(top + b'/modes', 3000000, 4294967294)
os.chmod(top + b'/modes', 0o6751)
os.mkdir(top + b'/sticky', 0o1777)
os.mkdir(top + b'/closed', 0o000)
deep = top
for n in range(30):
    deep += b'/' + b'deep' * 10
    os.mkdir(deep)
os.symlink(b'../no/such', top + b'/link')
os.symlink(b'\\xff' * 4095, top + b'/longlink')
os.lchown(top + b'/link', 5, 6)
os.setxattr(top + b'/empty', b'user.a=b%', b'\\0\\n=\\xff')
os.setxattr(top + b'/empty', b'user.empty', b'')
for n in range(3):
    os.setxattr(top + b'/large', b'user.large%d' % n, bytes([n]) * 65536)
os.setxattr(top + b'/sticky', b'user.znode.data', b'\\0data' * 10000)
os.setxattr(top + b'/sticky', b'user.other', b'too')
os.setxattr(top, b'user.znode.data', b'of the top')
os.utime(top + b'/empty', ns=(987654321987654321, 123456789123456789))
os.utime(top + b'/link', ns=(1, 2), follow_symlinks=False)
os.utime(top + b'/sticky', ns=(0, 4000000000123456789))
os.utime(top, ns=(3, 4))
"""


@pytest.fixture(name="odd")
def odd_tree(shared, request):
    """A directory of odd things, seen by all three mounts, and a name beside it for what is made of it."""
    name = request.node.name
    python(ODD_TREE, shared[1].path(name))
    shared.wait_equal()
    return name


def test_round_trip(shared, odd):
    first = succeed("export", "-q", shared[1].path(odd))
    assert len(members(first)) == 47
    succeed("import", shared[2].path(odd + "-again"), stdin=first)
    second = succeed("export", "-q", shared[3].path(odd + "-again"))
    assert contents(second) == contents(first)
    assert zxid_of(second) > zxid_of(first)


def test_what_gnu_tar_makes_of_an_export(shared, odd, folder):
    archive = os.path.join(folder, "odd.tar")
    done = znode("export", "-o", archive, shared[1].path(odd))
    assert done.returncode == 0 and b"47 znodes" in done.stderr and os.listdir(folder) == ["odd.tar"]
    assert stat.S_IMODE(os.stat(archive).st_mode) == 0o600
    assert run("tar", "-tf", archive).count("\n") == 47
    show = ("import os, sys\n"
            "os.chdir(sys.argv[1])\n"
            "for at, dirs, files in sorted(os.walk(b'.')):\n"
            "    for name in [b'.'] + sorted(dirs) + sorted(files):\n"
            "        path = os.path.join(at, name)\n"
            "        st = os.lstat(path)\n"
            "        link = os.path.islink(path)\n"
            "        data = os.readlink(path) if link else open(path, 'rb').read() if name in files else b''\n"
            "        names = [] if link else sorted(os.listxattr(path))\n"
            "        xattrs = [(each, os.getxattr(path, each)) for each in names]\n"
            "        print(path, oct(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns, data, xattrs)\n")
    # A disk has no room for xattrs of more than a block.
    shell(f"cd {shared[1].path(odd)} && rm large && setfattr -n user.znode.data -v little sticky")
    succeed("export", "-q", "-o", archive, shared[1].path(odd))
    disk = os.path.join(folder, "disk")
    os.mkdir(disk)
    run("tar", "--xattrs", "-C", disk, "-xpf", archive)
    assert python(show, disk) == python(show, shared[1].path(odd))


def test_what_gnu_tar_makes_is_imported(shared, folder):
    disk = os.path.join(folder, "disk")
    os.mkdir(disk)
    shell(f"cd {disk}; mkdir -p a/b; echo one > a/one; echo two > a/b/two; ln -s a/one link; chmod 750 a/b; "
          f"printf '\\xff' > $'a/\\xe4'; truncate -s 100000 hole; chown 7:8 a/one; touch -d '2001-02-03 04:05:06.789' a a/one; "
          f"setfattr -n user.x=y -v v a/one; mkdir $(printf 'long%.0s' {{1..60}}); for d in long*; do echo in > $d/file; done")
    for number, options in enumerate(["--format=gnu", "--format=gnu -z", "--format=gnu --sparse", "--format=oldgnu"]):
        target = shared[1].path(f"gnu{number}")
        shell(f"tar {options} -C {disk} -cf - . | {ZNODE} import -q {target}")
        run("diff", "-r", disk, target)
        assert run("stat", "-c", "%a %u %g %Y", f"{target}/a/one") == run("stat", "-c", "%a %u %g %Y", f"{disk}/a/one")
        assert run("stat", "-c", "%a %Y", f"{target}/a") == run("stat", "-c", "%a %Y", f"{disk}/a")
    shell(f"tar --xattrs --exclude=$'\\xe4' -C {disk} -cf - . | {ZNODE} import -q {shared[1].path('pax')}")
    assert run("getfattr", "--only-values", "-n", "user.x=y", shared[1].path("pax/a/one")) == "v"
    assert run("stat", "-c", "%y", shared[1].path("pax/a")) == run("stat", "-c", "%y", f"{disk}/a")


def test_equal_states_give_equal_bytes(shared, odd):
    shared.wait_equal()
    exports = [succeed("export", "--local", "-q", peer.path(odd)) for peer in list(shared) + [shared[1]]]
    assert len(set(exports)) == 1


WRITER = """
import os, sys
n = 0
while True:  # the first of a pair is never behind the second
    for name in ('first', 'second'):
        with open(f'{sys.argv[1]}/{name}', 'w') as file:
            file.write(str(n))
    n += 1
    if n == 2:
        print('goes', flush=True)
"""


def test_never_a_mixture(shared):
    """Three writers, each through a mount of its own; an export has the pairs of one moment, and what came before."""
    writers = []
    for peer in shared:
        run("mkdir", "-p", shared[1].path(f"pairs/{peer.sid}"))
        python("import os, sys\nfor n in range(300): open(f'{sys.argv[1]}/between{n}', 'w').write('x')\n",
               shared[1].path(f"pairs/{peer.sid}"))
    shared.wait_equal()
    try:
        for peer in shared:
            writers.append(subprocess.Popen([sys.executable, "-c", WRITER, peer.path(f"pairs/{peer.sid}")],
                                            stdout=subprocess.PIPE, text=True))
        assert [writer.stdout.readline() for writer in writers] == ["goes\n"] * 3
        zxid = 0
        moved = set()
        for turn in range(12):
            shared[1 + turn % 3].write("pairs/marker", str(turn))
            archive = succeed("export", "-q", shared[1 + (turn + 1) % 3].path("pairs"))
            found = members(archive)
            assert found["./marker"][1] == str(turn).encode()
            assert zxid_of(archive) > zxid
            zxid = zxid_of(archive)
            for sid in (1, 2, 3):
                first, second = (int(found[f"./{sid}/{name}"][1]) for name in ("first", "second"))
                assert first - second in (0, 1), (sid, first, second)
                moved.add((sid, first))
        assert len(moved) > 12
    finally:
        for writer in writers:
            writer.kill()
            writer.wait(30)
            writer.stdout.close()


def test_observers_and_subtrees(three):
    python(ODD_TREE, three[1].path("app"))
    whole = three.observer("whole")
    sub = three.observer("sub", subtree="/app")
    exports = {succeed("export", "--local", "-q", path)
               for path in (three[1].path("app"), whole.path("app"), sub.mount)
               if three.wait_equal()}
    assert len(exports) == 1
    deep = "deep" * 10
    assert (succeed("export", "--local", "-q", sub.path(deep)) ==
            succeed("export", "--local", "-q", three[2].path(f"app/{deep}")))
    succeed("import", sub.path("back"), stdin=exports.pop())
    run("test", "-d", three[1].path("app/back/sticky"))


def test_hundred_thousand_entries_and_bounded_memory(one):
    def memory():
        with open(f"/proc/{one.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) * 1024

    files = 10000 if SANITIZED else 99800
    entries = [(info(f"d{n // 1000}/f{n}"), b"%d" % n) for n in range(files)]
    done = json.loads(succeed("import", "--json", one.path("many"), stdin=make_tar(*entries), deadline=400))
    assert done["znodes"] == files and done["failed"] == 0
    succeed("import", "-q", one.path("large"),
            stdin=make_tar(*((info(f"{n}"), bytes([n]) * MIB) for n in range(64))), deadline=200)
    before = memory()
    reader = subprocess.Popen([ZNODE, "export", "-q", one.mount], stdout=subprocess.PIPE, env=ENVIRONMENT)
    most = 0
    count = 0
    with tarfile.open(fileobj=reader.stdout, mode="r|") as tar:
        for _ in tar:
            count += 1
            if count % 5000 == 0:
                most = max(most, memory())
    assert reader.wait(60) == 0
    reader.stdout.close()
    assert count == files + -(-files // 1000) + 64 + 3
    assert most - before < 24 * MIB


def test_without_a_quorum(three):
    three[1].write("file", "contents")
    three.wait_equal()
    archive = succeed("export", "-q", three[1].mount)
    survivor = three[1]
    for sid in (2, 3):
        three[sid].kill9()
        unmount(three[sid].mount)
    wait_until(lambda: survivor.status()["quorum"] == "no", what="the quorum to be lost")
    done = fail(NO_QUORUM, "", "status", survivor.mount)
    assert b"quorum\tno" in done.stdout
    assert json.loads(fail(NO_QUORUM, "", "status", "--json", survivor.mount).stdout)["quorum"] == "no"
    fail(NO_QUORUM, "--local", "export", survivor.mount)
    fail(NO_QUORUM, "no quorum", "import", survivor.path("new"), stdin=archive)
    fail(NO_QUORUM, "the rest was not tried", "import", "--merge", survivor.mount, stdin=archive)
    local = succeed("export", "--local", "-q", survivor.mount)
    assert members(local)["./file"][1] == b"contents"
    three[2].start()
    three.wait_quorum([survivor, three[2]])
    succeed("status", survivor.mount)


def test_strict_and_no_state(make_ensemble):
    ensemble = make_ensemble(3, options=("strict", "timeo=1"))
    for sid in (2, 3):
        ensemble[sid].kill9()
        unmount(ensemble[sid].mount)
    wait_until(lambda: ensemble[1].status()["quorum"] == "no", what="the quorum to be lost")
    fail(NO_QUORUM, "no quorum", "export", "--local", ensemble[1].mount)


def test_nothing_outside_is_touched(shared, folder):
    outside = os.path.join(folder, "outside")
    os.mkdir(outside)
    target = shared[1].path("hostile")
    archive = make_tar(
        (info("good"), b"1"),
        (info("/absolute"), b"2"),
        (info("../up"), b"3"),
        (info("a/../../up"), b"4"),
        (info(".znodefs/ctl"), b"5"),
        (info("link", tarfile.SYMTYPE, outside), None),
        (info("link/through"), b"6"),
        (info("link/dir/through"), b"6"),
        (info("link", tarfile.DIRTYPE), None),
        (info("hard", tarfile.LNKTYPE, "good"), None),
        (info("fifo", tarfile.FIFOTYPE), None),
        (info("toolarge"), b"7" * (MIB + 1)),
        (info("sub/implied/good"), b"8"),
    )
    done = fail(REFUSED, "imported 3 znodes, 2 bytes", "import", target, stdin=archive)
    told = done.stderr.decode()
    for words in ("/absolute: an absolute name", "../up: a name with ..", ".znodefs/ctl: a reserved name",
                  "hard: a hard link", "fifo: a device", "toolarge: larger than a znode may be", "10 failed"):
        assert words in told, (words, told)
    assert os.listdir(outside) == []
    assert run("test", "-e", shared[1].path("up"), check=False).returncode == 1
    assert sorted(run("ls", target).split()) == ["good", "link", "sub"]
    fail(EXISTS, "--merge", "import", target, stdin=archive)
    again = make_tar((info("good"), b"newer"), (info("sub"), b"a file"), (info("link", tarfile.SYMTYPE, "new"), None))
    fail(EXISTS, "sub: ", "import", "--merge", target, stdin=again)
    assert run("cat", f"{target}/good") == "newer" and run("readlink", f"{target}/link") == "new\n"


def test_damaged_archives(shared, odd):
    archive = succeed("export", "-q", shared[1].path(odd))
    for number, cut in enumerate((0, 100, 1024, 5000, len(archive) // 2, len(archive) - len(archive) % MIB)):
        fail(1, "", "import", shared[1].path(f"cut{number}-{odd}"), stdin=archive[:cut])
    fail(1, "cannot be read", "import", shared[1].path(f"noise-{odd}"), stdin=os.urandom(20000))


@pytest.fixture
def nobody():
    """Runs znode in a directory as somebody who may not enter those above it; what became of it."""
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o755)
    program = shutil.copy(ZNODE, folder)
    yield lambda cwd, *argv, stdin=None: subprocess.run(
        [program, *argv], cwd=cwd, input=stdin, capture_output=True, timeout=60, check=False, env=ENVIRONMENT,
        user=65534, group=65534, extra_groups=[])
    shutil.rmtree(folder)


def test_who_is_not_root(shared, nobody):
    done = nobody(shared[1].mount, "export", ".")
    assert done.returncode == REFUSED and b"only the user" in done.stderr
    archive = make_tar((info("./", tarfile.DIRTYPE, mode=0o755), None), (info("mine", mode=0o400, uid=5, gid=5), b"x"))
    run("mkdir", "-m", "777", shared[1].path("theirs"))
    done = nobody(shared[1].path("theirs"), "import", "new", stdin=archive)
    assert done.returncode == 0, done.stderr
    assert run("stat", "-c", "%u %g %a", shared[1].path("theirs/new/mine")) == "65534 65534 400\n"
    done = nobody(shared[1].mount, "import", "not-theirs", stdin=archive)
    assert done.returncode == REFUSED and b"Permission denied" in done.stderr


def test_stat_and_status(shared):
    shared[1].write("stat", "contents")
    shell(f"cd {shared[1].mount}; ln -s stat statlink; mkdir statdir; mkdir statdir/child; touch -d @1.000000002 stat")
    fields = json.loads(succeed("stat", "--json", shared[1].path("stat")))
    assert fields["kind"] == "file" and fields["dataLength"] == 8 and fields["version"] == 1
    assert fields["mtime"] == "1970-01-01T00:00:01.000000002Z" and fields["mzxid"] > fields["czxid"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", fields["ctime"])
    for key in ("czxid", "mzxid", "pzxid", "ephemeralOwner"):
        assert re.fullmatch("0x[0-9a-f]+", fields[key])
    shared.wait_equal()
    elsewhere = json.loads(succeed("stat", "--json", shared[2].path("stat")))
    assert {**elsewhere, "path": ""} == {**fields, "path": ""}
    text = succeed("stat", shared[1].path("statlink"), shared[1].path("statdir")).decode()
    assert "kind\tsymlink" in text and "kind\tdirectory" in text and "numChildren\t1" in text
    assert dict(line.split("\t") for line in text.split("\n\n", 1)[0].splitlines())["dataLength"] == "4"
    raw = os.fsencode(shared[1].path("stat")) + b"\xff"
    shell(f"cp {shared[1].path('stat')} {shared[1].path('stat')}$'\\xff'")
    assert os.fsencode(json.loads(succeed("stat", "--json", raw))["path"]) == raw
    status = json.loads(succeed("status", "--json", shared[1].path("stat")))
    assert status["quorum"] == "yes" and status["myid"] == 1
    fail(ABSENT, "no/such", "stat", shared[1].path("no/such"))
    fail(1, "not on a mount", "stat", "/tmp")
    fail(1, "not on a mount", "status", "/proc")
    fail(1, "not on a mount", "export", "/tmp")
    fail(1, "not a znode", "stat", shared[1].path(".znodefs/status"))


def test_help_and_usage(shared):
    names = re.findall(r"^  (\w+)  ", succeed("--help").decode(), re.MULTILINE)
    assert {"stat", "status", "export", "import"} <= set(names)
    for name in names[:4]:
        text = succeed(name, "--help").decode()
        assert text.startswith(f"usage: znode {name} ") and f"  znode {name} " in text
    assert re.fullmatch(rb"znode \d.*\n", succeed("--version"))
    fail(1, "no such command", "bogus")
    fail(1, "usage: znode stat", "stat")
    fail(1, "usage: znode export", "export", "--bogus", shared[1].mount)
    fail(1, "usage: znode import", "import")


def test_the_commands_of_the_readme(shared, folder):
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as readme:
        block = readme.read().split("## Backup and restore\n", 1)[1].split("```\n")[1]
    assert block.count("znode ") == 2
    shell(f"cd {shared[1].mount} && mkdir -p app/sub && echo v > app/sub/file && mkdir {folder}/bin && ln -s {ZNODE} {folder}/bin")
    script = block.replace("/mnt", shared[1].mount).replace("/backup", folder)
    assert "./sub/file" in shell(f"set -e; PATH={folder}/bin:$PATH\n{script}")
    assert shared[2].read("app/sub/file") == shared[2].read("app.old/sub/file") == "v\n"
