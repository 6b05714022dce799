"""A peer that stands still, or whose connection trickles, costs the others bounded memory and no throughput."""

import os
import signal
import subprocess
import sys

import pytest
from lib.ensemble import SANITIZED, run, wait_until

pytestmark = pytest.mark.root

WRITERS = 64
SECONDS = 4 if SANITIZED else 6
SIZE = 4096
# What the leader may hold more for one that takes nothing: its queue, until it counts as gone, and the window.
GROWN_KB = 160 * 1024

WRITER = """
import os, sys, threading, time
root, count, size, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
done = [0] * count
end = time.monotonic() + seconds
def write(number):
    data = os.urandom(size)
    while time.monotonic() < end:
        fd = os.open(f"{root}/w{number}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(fd, data)
        os.close(fd)
        done[number] += 1
threads = [threading.Thread(target=write, args=(n,)) for n in range(count)]
for t in threads: t.start()
for t in threads: t.join()
print(sum(done))
"""


def memory_kb(peer, key="VmRSS"):
    with open(f"/proc/{peer.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(key))


def reset_peak(peer):
    with open(f"/proc/{peer.process.pid}/clear_refs", "w", encoding="ascii") as refs:
        refs.write("5")


def write_a_while(peer, size=SIZE, seconds=SECONDS):
    """Closes that published in so many seconds, by WRITERS at once."""
    return int(run(sys.executable, "-c", WRITER, peer.mount, str(WRITERS), str(size), str(seconds), deadline=60 + seconds))


@pytest.mark.parametrize("who", ["follower", "observer"])
def test_stopped_peer(make_ensemble, who):
    ensemble = make_ensemble(3)
    leader = ensemble.leader()
    stopped = ensemble.followers()[0] if who == "follower" else ensemble.observer("o")
    write_a_while(leader)
    before = write_a_while(leader)
    reset_peak(leader)
    memory = memory_kb(leader)
    stopped.send(signal.SIGSTOP)
    try:
        during = max(write_a_while(leader), write_a_while(leader))  # of a busy machine
        grown = memory_kb(leader, "VmHWM") - memory
    finally:
        stopped.send(signal.SIGCONT)
    print(f"{before} closes with, {during} without the {who}; the leader's memory grew by {grown} kB")
    assert grown < GROWN_KB
    # One less to be fed may even be faster; the second in which it is waited for is no pause.
    assert during > before * 0.6
    ensemble.wait_equal(120)
    assert ensemble.leader() is leader


class Relay:
    """Between a peer and the others: bytes go through at so many a second."""

    def __init__(self, to_port):
        script = os.path.join(os.path.dirname(__file__), "lib", "trickle.py")
        self.process = subprocess.Popen([sys.executable, script, str(to_port)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def rate(self, bytes_per_second):
        self.process.stdin.write(f"{bytes_per_second}\n")
        self.process.stdin.flush()

    def end(self):
        self.process.kill()
        self.process.wait(30)


def test_observer_behind_a_slow_line(make_ensemble):
    """It never gets there while the others write more than its line carries; nobody else notices, and then it does."""
    ensemble = make_ensemble(3)
    leader = ensemble.leader()
    relay = Relay(ensemble.ports[2 * leader.sid - 2])
    try:
        relay.rate(50_000_000)
        observer = ensemble.observer("slow", hosts=[f"127.0.0.1:{relay.port}"])
        write_a_while(leader)
        before = write_a_while(leader)
        memory = memory_kb(leader)
        reset_peak(leader)
        relay.rate(300_000)
        during = 0
        for _ in range(3):
            during = max(during, write_a_while(leader))
        grown = memory_kb(leader, "VmHWM") - memory
        print(f"{before} closes before, {during} while it trickles; the leader's memory grew by {grown} kB")
        assert grown < GROWN_KB
        assert during > before * 0.6
        relay.rate(50_000_000)
        wait_until(lambda: observer.status()["quorum"] == "yes", 60, "the observer to get there")
        ensemble.wait_equal(60)
    finally:
        relay.end()


def test_the_log_behind_a_slow_snapshot_is_kept(make_ensemble):
    """Else a snapshot that takes longer than the log is kept would begin again, and again."""
    ensemble = make_ensemble(3, config={"snapCount": 300})
    leader = ensemble.leader()
    run("sh", "-c", f"for i in $(seq 800); do head -c 50000 /dev/urandom > {leader.path('f')}$i; done", deadline=120)
    relay = Relay(ensemble.ports[2 * leader.sid - 2])
    try:
        relay.rate(1_000_000)
        observer = ensemble.observer("slow", hosts=[f"127.0.0.1:{relay.port}"], wait=False)
        wait_until(lambda: "is sent a snapshot" in leader.log_text(), 30, "the snapshot to begin")
        # More than what the leader holds in memory, and many snapshots.
        write_a_while(leader, 8192, 3)
        relay.rate(100_000_000)
        wait_until(lambda: observer.status().get("quorum") == "yes", 60, "the observer to get there")
        ensemble.wait_equal(60)
        assert leader.log_text().count("is sent a snapshot") == 1
    finally:
        relay.end()
