"""kill -9 of leader, follower and all under writers who record what was acknowledged: nothing of it is lost."""

import collections
import os
import signal
import subprocess
import sys

import pytest
from lib.ensemble import ROOT, SANITIZED, Failure, run, wait_until

pytestmark = pytest.mark.root

WRITERS_PER_MOUNT = 2
ROUNDS = 2 if SANITIZED else 4


class Writers:
    """Writers on every mount, each with its journal."""

    def __init__(self, ensemble):
        self.ensemble = ensemble
        self.journals = {}
        self.processes = {}
        script = os.path.join(ROOT, "tests", "lib", "writer.py")
        run("touch", ensemble[1].path("shared"))
        ensemble.wait_equal()
        for peer in ensemble:
            for number in range(WRITERS_PER_MOUNT):
                name = f"w{peer.sid}-{number}"
                journal = os.path.join(ensemble.dir, f"journal-{name}")
                self.journals[name] = journal
                self.processes[name] = subprocess.Popen([sys.executable, script, peer.mount, name, journal])

    def lines(self, name):
        try:
            with open(self.journals[name], encoding="ascii") as journal:
                return journal.read().splitlines()
        except FileNotFoundError:
            return []  # it has not begun yet

    def acknowledged(self):
        return {name: sum(not line.startswith("failed") for line in self.lines(name)) for name in self.journals}

    def wait_progress(self, deadline=60):
        """Until each writer has had 10 more calls acknowledged."""
        before = self.acknowledged()
        wait_until(lambda: all(now >= before[name] + 10 for name, now in self.acknowledged().items()), deadline,
                   "every writer to go on")

    def stop(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for name, process in self.processes.items():
            try:
                assert process.wait(60) == 0
            except subprocess.TimeoutExpired as error:
                raise Failure(f"writer {name} hangs") from error

    def kill(self):
        for process in self.processes.values():
            process.kill()
            process.wait(30)

    def failures(self, sid):
        return [f"{name}: {line}" for name in self.journals if name.startswith(f"w{sid}-")
                for line in self.lines(name) if line.startswith("failed")]

    def check(self):
        """Everything acknowledged is there, on every mount, once; nothing is there twice."""
        self.ensemble.assert_same_trees()
        for peer in self.ensemble:
            appended = collections.Counter(peer.read("shared", deadline=60).splitlines())
            twice = [line for line, count in appended.items() if count > 1]
            assert not twice, f"took effect twice: {twice[:10]}"
            for name in self.journals:
                files = dict(line.split(":", 1) for line in run(
                    "bash", "-c", f"cd {peer.path(name)} && grep -r '' . || true", deadline=120).splitlines())
                for line in self.lines(name):
                    what, number = line.split()[:2]
                    if what == "file":
                        assert files.get(f"./{number}") == f"{name} {number}", f"lost: {name} {line}"
                    elif what == "append":
                        assert appended[f"{name} {number}"] == 1, f"lost: {name} {line}"


@pytest.fixture
def writers(three):
    writers = Writers(three)
    yield writers
    writers.kill()


def revive(peer):
    peer.restart(wait=False)
    peer.wait_answering()


def test_kill_leader(three, writers):
    killed = set()
    for _ in range(ROUNDS):
        writers.wait_progress()
        leader = three.leader()
        killed.add(leader.sid)
        leader.kill9()
        three.wait_quorum()
        revive(leader)
        three.wait_quorum()
    writers.wait_progress()
    writers.stop()
    writers.check()
    for peer in three:
        if peer.sid not in killed:
            assert not writers.failures(peer.sid)


def test_kill_follower(three, writers):
    killed = set()
    for round_number in range(ROUNDS):
        writers.wait_progress()
        follower = three.followers()[round_number % 2]
        killed.add(follower.sid)
        follower.kill9()
        revive(follower)
        three.wait_quorum()
    writers.wait_progress()
    writers.stop()
    writers.check()
    for peer in three:
        if peer.sid not in killed:
            assert not writers.failures(peer.sid)


def test_kill_all(three, writers):
    for _ in range(ROUNDS):
        writers.wait_progress()
        for peer in three:
            peer.send(signal.SIGKILL)
        for peer in three:
            peer.wait_ended()
        for peer in three:
            peer.restart(wait=False)
        for peer in three:
            peer.wait_answering()
        three.wait_quorum()
    writers.wait_progress()
    writers.stop()
    writers.check()


def test_stopped_leader_is_replaced(three):
    """SIGSTOP: the others go on; when it wakes, it follows and shows what they did."""
    leader = three.leader()
    others = three.followers()
    leader.send(signal.SIGSTOP)
    try:
        three.wait_quorum(among=others, deadline=30)
        others[0].write("while-asleep", "x\n")
    finally:
        leader.send(signal.SIGCONT)
    three.wait_quorum()
    wait_until(lambda: leader.read("while-asleep") == "x\n", 30, "the sleeper to catch up")
    three.assert_same_trees()
