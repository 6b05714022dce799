"""make run and make stop: an ensemble to play with, in a folder that is not the user's run/."""

import os
import re
import signal
import subprocess

import pytest
from lib.ensemble import BINARY, ENVIRONMENT, ROOT, is_mounted, parse_pairs, run, wait_until

pytestmark = pytest.mark.root

HELPER = os.path.join(ROOT, "mount-helpers", "ensemble")
BUILD = os.path.dirname(BINARY)
DEADLINE = 90


class Playground:
    def __init__(self, folder):
        self.dir = folder

    def __call__(self, *argv):
        """Runs the helper as make does; (exit code, stdout, stderr)."""
        done = subprocess.run([HELPER, *argv], capture_output=True, text=True, timeout=DEADLINE, check=False,
                              stdin=subprocess.DEVNULL, env=dict(ENVIRONMENT, RUN_DIR=self.dir, BUILD=BUILD))
        return done.returncode, done.stdout, done.stderr

    def path(self, name):
        return os.path.join(self.dir, name)

    def pid(self, peer):
        return int(run("cat", self.path(f"pid/{peer}")))

    def status(self, peer):
        return parse_pairs(run("cat", self.path(f"{peer}/.znodefs/status")))

    def ports(self):
        with open(self.path("zoo.cfg-1"), encoding="utf-8") as cfg:
            return set(map(int, re.findall(r"^server\.\d+=127\.0\.0\.1:(\d+):", cfg.read(), re.MULTILINE)))

    def start(self, peers=3):
        code, out, err = self("run", str(peers))
        assert code == 0, err
        return out

    def stop(self):
        code, out, err = self("stop")
        assert code == 0 and err == "", err
        return out


@pytest.fixture
def make_playground(folder):
    made = []

    def make(name="run"):
        made.append(Playground(os.path.join(folder, name)))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def playground(make_playground):
    return make_playground()


def test_run_and_stop(playground):
    out = playground.start()
    assert out.count("following") == 2 and out.count("leading") == 1
    run("dd", f"of={playground.path('1/f')}", "status=none", stdin="kept")
    # A second time it tells how things are, and starts nothing.
    pids = [playground.pid(peer) for peer in (1, 2, 3)]
    assert "leading" in playground.start()
    assert pids == [playground.pid(peer) for peer in (1, 2, 3)]

    playground.stop()
    assert not any(is_mounted(playground.path(str(peer))) for peer in (1, 2, 3))
    assert not os.listdir(playground.path("pid"))
    playground.stop()  # nothing to do is no error

    playground.start()
    assert run("cat", playground.path("3/f")) == "kept"


def test_killed_peer_is_started_again(playground):
    playground.start()
    leader = int(playground.status(1)["leader"])
    killed = playground.pid(leader)
    os.kill(killed, signal.SIGKILL)
    # Its mount stays, dead, and is cleared away; the other two go on as they are.
    others = {peer: playground.pid(peer) for peer in (1, 2, 3) if peer != leader}
    out = playground.start()
    assert out.count("following") == 2 and out.count("leading") == 1
    assert playground.pid(leader) != killed
    assert others == {peer: playground.pid(peer) for peer in others}

    # All at once, and then only stop.
    for peer in (1, 2, 3):
        os.kill(playground.pid(peer), signal.SIGKILL)
    playground.stop()
    assert not any(is_mounted(playground.path(str(peer))) for peer in (1, 2, 3))


def test_other_number_of_peers(playground):
    assert "leading" in playground.start(1)
    playground.stop()
    code, out, err = playground("run", "3")
    assert code != 0 and out == ""
    assert "of 1 peer(s), not 3" in err and "PEERS=1" in err and f"rm -r {playground.dir}" in err
    for peers in ("0", "three", "-1", ""):
        code, _, err = playground("run", peers)
        assert code != 0 and "PEERS=" in err


def test_two_at_once_use_other_ports(make_playground):
    """As two checkouts of this project on one machine; one of them in a folder with a space in its name."""
    first, second = make_playground(), make_playground("a folder/run")
    first.start()
    second.start()
    assert len(first.ports()) == len(second.ports()) == 3 and not first.ports() & second.ports()
    assert first.status(1)["ensemble"] != second.status(1)["ensemble"]
    os.kill(second.pid(2), signal.SIGKILL)
    second.start()
    second.stop()
    wait_until(lambda: first.status(2)["quorum"] == "yes", DEADLINE)


def test_foreign_mount_is_left_alone(playground):
    os.makedirs(playground.path("1"))
    run("mount", "-t", "tmpfs", "tmpfs", playground.path("1"))
    try:
        code, _, err = playground("run", "1")
        assert code != 0 and "tmpfs" in err and "not ours" in err
        assert is_mounted(playground.path("1"))
    finally:
        run("umount", playground.path("1"))


def test_peer_that_cannot_start(playground):
    """The reason is printed, not only where to look for it."""
    os.makedirs(playground.path("data"))
    os.makedirs(playground.path("log"))
    with open(playground.path("data/1"), "w", encoding="ascii"):
        pass
    code, _, err = playground("run", "1")
    assert code != 0 and playground.path("data/1") in err


def test_by_make(playground):
    """The same by make, which may find that everything is built."""
    sanitize = [] if BUILD == os.path.join(ROOT, "build") else [f"SANITIZE={os.path.basename(BUILD).replace('-', ',')}"]

    def make(*argv):
        return run("make", "-C", ROOT, f"RUN_DIR={playground.dir}", *sanitize, *argv, deadline=DEADLINE)

    assert "leading" in make("run", "PEERS=1")
    make("stop")
    assert not is_mounted(playground.path("1"))
