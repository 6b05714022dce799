"""Taking an ensemble's quorum away and giving it back, and what is asked meanwhile."""

import re
import signal
import time

from .ensemble import SANITIZED, run, wait_until

PEER_TIMEOUT = 1
SLACK = 6 if SANITIZED else 2  # of a busy machine

FSYNC = "import os, sys; os.fsync(os.open(sys.argv[1], os.O_RDONLY))"
DIRECT = "import mmap, os, sys; os.readv(os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT), [mmap.mmap(-1, 4096)])"


def fails(*argv, within):
    """The command's last words; it must fail within so many seconds, and a busy machine's slack."""
    begun = time.monotonic()
    done = run(*argv, check=False)
    took = time.monotonic() - begun
    assert done.returncode != 0, f"{argv} succeeded"
    assert took < within + SLACK, f"{argv} took {took:.1f} s"
    return done.stderr.strip()


def lose(peers, number):
    for peer in peers:
        peer.send(number)
        if number == signal.SIGKILL:
            peer.wait_ended()


def give_back(peers, number):
    for peer in peers:
        if number == signal.SIGSTOP:
            peer.send(signal.SIGCONT)
        else:
            peer.restart(wait=False)


def wait_lost(peer, deadline=PEER_TIMEOUT + SLACK):
    wait_until(lambda: peer.status()["quorum"] == "no", deadline, "the quorum's loss to be told")


def waiting(peer):
    """Calls that wait for a decision there."""
    return int(re.search(r"^znodefs_calls_outstanding (\d+)$", peer.metrics(), re.MULTILINE).group(1))
