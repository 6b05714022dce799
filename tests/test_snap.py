"""A member that is too far behind is sent a snapshot: nobody waits for that, neither where it comes from nor there.

ZNODEFS_SNAP_MB is how much there is in the tree (100; 1000 takes minutes).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from lib.ensemble import ROOT, SANITIZED, run, wait_until

pytestmark = pytest.mark.root

MEGABYTES = int(os.environ.get("ZNODEFS_SNAP_MB", "100"))
FILE_BYTES = 65536 if SANITIZED else 16384
# So often that the log of the beginning is not kept.
SNAP_COUNT = 300 if SANITIZED else 1000
# What a reader may wait once: far below what serializing or reading the tree takes in one piece.
GAP_MS = 2000 if SANITIZED else 400

FILL = """
import os, sys
root, megabytes, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for d in range(megabytes):
    os.mkdir(f"{root}/d{d}")
    for f in range((1 << 20) // size):
        with open(f"{root}/d{d}/f{f}", "wb", buffering=0) as file:
            file.write(os.urandom(size))
"""


def wipe(peer):
    shutil.rmtree(os.path.join(peer.data, "znodefs"))


def rss_kb(peer):
    with open(f"/proc/{peer.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


class Reader:
    """Reads a file of a mount a thousand times a second; remembers the longest it had to wait."""

    def __init__(self, path):
        script = os.path.join(ROOT, "tests", "lib", "gaps.py")
        self.process = subprocess.Popen([sys.executable, script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        assert self.process.stdout.readline() == "reading\n"

    def stop(self):
        out, _ = self.process.communicate("\n", timeout=30)
        return json.loads(out)


def elections(peer):
    return int(next(line for line in peer.metrics().splitlines() if line.startswith("znodefs_elections_total")).split()[1])


def test_snapshot_without_a_pause(make_ensemble):
    ensemble = make_ensemble(3, config={"snapCount": SNAP_COUNT})
    victim = ensemble.followers()[0]
    run(sys.executable, "-c", FILL, ensemble[1].mount, str(MEGABYTES), str(FILE_BYTES), deadline=120 + 10 * MEGABYTES)
    run("touch", ensemble[1].path("read"))
    ensemble.wait_equal(120)
    others = [peer for peer in ensemble if peer is not victim]
    victim.stop()
    wipe(victim)
    for peer in others:
        peer.stop()
    for peer in others:
        peer.start(wait=False)
    leader = ensemble.wait_quorum(among=others)
    before = [elections(peer) for peer in others]
    memory = rss_kb(leader)
    reader = Reader(leader.path("read"))
    begun = time.monotonic()
    victim.start()
    written = 0
    while victim.status().get("quorum") != "yes":
        assert time.monotonic() < begun + 60 + MEGABYTES
        run("sh", "-c", f"echo {written} > {leader.path('read')}")  # goes on, and follows the snapshot
        written += 1
        grown = rss_kb(leader) - memory
        assert SANITIZED or grown < 64 * 1024, f"the leader holds {grown} kB more"
    took = time.monotonic() - begun
    gaps = reader.stop()
    print(f"{MEGABYTES} MB in {took:.1f} s, {written} writes meanwhile; longest read at the leader {gaps['max_ms']:.0f} ms, "
          f"99.9 %: {gaps['p999_ms']:.1f} ms; the leader's memory grew by {rss_kb(leader) - memory} kB")
    assert gaps["max_ms"] < GAP_MS
    assert [elections(peer) for peer in others] == before
    assert "too far behind" in victim.log_text()
    assert "too far behind" in leader.log_text()
    assert written > 0
    ensemble.wait_equal()
    names = os.listdir(os.path.join(victim.data, "znodefs"))
    assert any(name.startswith("snapshot.") for name in names)
    assert "incoming.snapshot" not in names
    run("diff", "-r", leader.path("d0"), victim.path("d0"))
    # It is on its disk.
    victim.restart()
    wait_until(lambda: victim.read("read") == f"{written - 1}\n", 60, "the restarted member")


def test_reads_go_on_while_a_snapshot_is_taken_over(make_ensemble):
    """A member that stood still shows its old state until the new one is there, and then the new one."""
    ensemble = make_ensemble(3, config={"snapCount": SNAP_COUNT, "snapSizeLimitInKb": 4000})
    victim = ensemble.followers()[0]
    leader = ensemble.leader()
    run("sh", "-c", f"echo old > {victim.path('read')}")
    run(sys.executable, "-c", FILL, leader.mount, str(MEGABYTES // 5), str(FILE_BYTES), deadline=300)
    ensemble.wait_equal(120)
    victim.send(signal.SIGSTOP)
    try:
        # More than what the leader holds in memory; and its log is kept no longer than three snapshots.
        run("mkdir", leader.path("later"))
        run(sys.executable, "-c", FILL, leader.path("later"), str(max(MEGABYTES, 90)), str(FILE_BYTES), deadline=600)
        run("sh", "-c", f"echo new > {leader.path('read')}")
    finally:
        victim.send(signal.SIGCONT)
    reader = Reader(victim.path("read"))
    wait_until(lambda: victim.read("read") == "new\n", 60 + MEGABYTES, "synchronization")
    gaps = reader.stop()
    print(f"longest of {gaps['n']} reads where it is taken over {gaps['max_ms']:.0f} ms, 99.9 %: {gaps['p999_ms']:.1f} ms")
    assert gaps["max_ms"] < GAP_MS
    assert "takes over a snapshot" in victim.log_text()
    ensemble.wait_equal()
    run("diff", "-r", leader.path("later/d0"), victim.path("later/d0"))


def test_the_log_instead_of_a_snapshot(make_ensemble):
    """What the leader no longer has in memory (64 MB) is read from its log, as long as that is there."""
    ensemble = make_ensemble(3)
    victim = ensemble.followers()[0]
    others = [peer for peer in ensemble if peer is not victim]
    victim.stop()
    run(sys.executable, "-c", FILL, others[0].mount, "90", "262144", deadline=300)
    leader = ensemble.wait_quorum(among=others)
    memory = rss_kb(leader)
    victim.start()
    ensemble.wait_quorum()
    ensemble.wait_equal()
    assert "takes over a snapshot" not in victim.log_text()
    assert SANITIZED or rss_kb(leader) - memory < 64 * 1024
    run("diff", "-r", leader.path("d7"), victim.path("d7"))
