"""`.znodefs/snapshot`, and `znode`, which makes backups of it."""

import os
import signal
import subprocess
import sys

import pytest
from lib.ensemble import Failure, run, shell, wait_until

pytestmark = pytest.mark.root

EXPORTS_MAX = 4  # fs/export.h


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
                    "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
                    "try: open(sys.argv[1], 'rb')\n"
                    "except OSError as error: print(error.errno)\n")
        snapshot = one.path(".znodefs/snapshot")
        assert run("stat", "-c", "%a %u %g", snapshot) == "400 0 0\n"
        assert python(os_error, snapshot) == "13\n"
        assert run("sh", "-c", f": > {snapshot}", check=False).returncode != 0

    def test_so_many_at_once_and_each_from_beginning_to_end(self, one):
        many = ("import os, sys\n"
                "fds = [os.open(sys.argv[1], os.O_RDONLY) for _ in range(int(sys.argv[2]))]\n"
                "try: os.open(sys.argv[1], os.O_RDONLY)\n"
                "except OSError as error: print(error.errno)\n"
                "try: os.pread(fds[0], 10, 5)\n"
                "except OSError as error: print(error.errno)\n"
                "os.close(fds.pop())\n"
                "fds.append(os.open(sys.argv[1], os.O_RDONLY))\n"
                "print(len({b''.join(iter(lambda: os.read(fd, 7), b'')) for fd in fds}))\n")
        assert python(many, one.path(".znodefs/snapshot"), str(EXPORTS_MAX)).split() == ["16", "29", "1"]

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
