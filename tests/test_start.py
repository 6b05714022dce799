"""The daemon's command line: usage, configuration errors and exit codes."""

import os
import socket

import pytest
from lib.ensemble import free_ports, is_mounted, run, unmount

pytestmark = pytest.mark.root

USAGE, CONFIG, DATA, MOUNTPOINT, ADDRESS = 1, 2, 3, 4, 5


@pytest.fixture
def write(folder):
    def write_file(name, contents):
        path = os.path.join(folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(contents)
        return path

    os.mkdir(os.path.join(folder, "data"))
    os.mkdir(os.path.join(folder, "mnt"))
    return write_file


def test_help_and_version(znodefs):
    done = znodefs("-h")
    assert done.returncode == 0 and "SOURCE" in done.stdout and "Example" in done.stdout
    done = znodefs("-V")
    assert done.returncode == 0 and done.stdout.startswith("znodefs ")


@pytest.mark.parametrize(
    "argv, words",
    [
        ([], "give SOURCE and MOUNTPOINT"),
        (["standalone"], "give SOURCE and MOUNTPOINT"),
        (["standalone", "a", "b"], "too much"),
        (["-o", "stricy", "standalone", "mnt"], "did you mean strict?"),
        (["-x", "standalone", "mnt"], "-x"),
        (["host1:2888,,host2:/app", "mnt"], "host missing in the list"),
        (["host1/app", "mnt"], "begins with"),
        (["-o", "myid=1", "host1", "mnt"], "-o myid does not go with a list of hosts"),
        (["-o", "timeo=soon", "standalone", "mnt"], "timeo=soon"),
    ],
)
def test_usage(znodefs, argv, words):
    done = znodefs(*argv)
    assert done.returncode == USAGE
    assert words in done.stderr


@pytest.mark.parametrize(
    "lines, words",
    [
        ("dataDir=data\ntikcTime=5\n", "zoo.cfg:2: unknown key tikcTime; did you mean tickTime?"),
        ("dataDir=data\ntickTime=soon\n", "zoo.cfg:2: tickTime=soon is not a number"),
        ("dataDir=data\nserver.1=127.0.0.1:2888:3888\n", "myid is missing"),
        ("dataDir=nowhere\n", "mkdir -p nowhere"),
        ("tickTime=2000\n", "dataDir is missing"),
        ("dataDir=data\nserver.1=192.0.2.7:2888:3888\n", "znodefs.insecure=yes"),
        ("dataDir=data\nserver.1=localhost:2888:3888\nserver.2=localhost:3888:3888\nserver.3=localhost:3888:3888\n",
         "zoo.cfg:4: server.3 and server.2 (./zoo.cfg:3) both use localhost:3888"),
        ("dataDir=data\ngroup.1=1:2\n", "zoo.cfg:2: group.1"),
    ],
)
def test_configuration(znodefs, write, lines, words):
    write("zoo.cfg", lines)
    done = znodefs("./zoo.cfg", "mnt")
    assert done.returncode == CONFIG
    assert words in done.stderr


def test_no_configuration(znodefs, write):
    done = znodefs("./zoo.cfg", "mnt")
    assert done.returncode == CONFIG and "./zoo.cfg: can't be opened" in done.stderr


def test_mountpoint(znodefs, write):
    done = znodefs("-o", "dataDir=data", "standalone", "nowhere")
    assert done.returncode == MOUNTPOINT and "mkdir -p nowhere" in done.stderr
    write("file", "")
    done = znodefs("-o", "dataDir=data", "standalone", "file")
    assert done.returncode == MOUNTPOINT and "not a directory" in done.stderr


def test_background(znodefs, write, folder):
    """Without -f it returns once the mount answers, and umount ends it."""
    mount = os.path.join(folder, "mnt")
    log = os.path.join(folder, "log")
    done = znodefs("-o", f"dataDir=data,log={log}", "standalone", "mnt")
    try:
        assert done.returncode == 0, done.stderr
        assert is_mounted(mount)
        assert "leading" in run("cat", f"{mount}/.znodefs/status")
        # In use: the lock of the dataDir, whatever the mountpoint.
        os.mkdir(os.path.join(folder, "mnt2"))
        second = znodefs("-o", "dataDir=data", "standalone", "mnt2")
        assert second.returncode == DATA and "data" in second.stderr
    finally:
        run("umount", mount, check=False)
        unmount(mount)
    # The lock goes with the process: a new start waits for nothing but its end.
    from lib.ensemble import wait_until

    def again():
        return znodefs("-o", f"dataDir=data,log={log}", "standalone", "mnt").returncode == 0

    wait_until(again, 20, "the first daemon to end")
    run("umount", mount)
    wait_until(lambda: znodefs_ended(folder), 20, "the second daemon to end")


def znodefs_ended(folder):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/exe").endswith("/znodefs"):
                with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
                    if folder.encode() in cmdline.read():
                        return False
        except OSError:
            continue
    return True


def test_busy_port(znodefs, write):
    peer, election = free_ports(2)
    write("data/myid", "1\n")
    write("zoo.cfg", f"dataDir=data\nserver.1=127.0.0.1:{peer}:{election}\n")
    with socket.socket() as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        busy.bind(("127.0.0.1", peer))
        busy.listen()
        done = znodefs("./zoo.cfg", "mnt")
    assert done.returncode == ADDRESS
    assert str(peer) in done.stderr


def test_foreign_data(make_ensemble, znodefs, folder):
    """A dataDir of another server is refused."""
    ensemble = make_ensemble(1)
    ensemble[1].stop()
    os.mkdir(os.path.join(folder, "mnt"))
    os.unlink(os.path.join(ensemble[1].data, "myid"))
    done = znodefs("-o", f"dataDir={ensemble[1].data},myid=2", "standalone", "mnt")
    assert done.returncode == DATA
