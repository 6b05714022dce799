"""A daemon that cannot see who writes: in a pid namespace of its own, or with a /proc that is another's (design: 2.1,
rule 2: then each FLUSH with a draft by the opener's lock_owner publishes)."""

import signal
import subprocess

import pytest
from lib.ensemble import is_mounted, run, shell, unmount, wait_until
from lib.files import OLD, version

pytestmark = pytest.mark.root

# In mount and pid namespaces of its own, but for the folder with the mountpoint.
ENTER = ("unshare", "--pid", "--fork", "--mount", "--propagation", "unchanged")
OWN_PROC = "mount --make-private /proc && mount -t proc proc /proc && exec \"$@\""
OTHERS_PROC = "exec \"$@\""


@pytest.fixture(params=["own-proc", "others-proc"])
def peer(request, make_ensemble):
    """A standalone peer whose daemon is alone in its pid namespace; `peer.inside` runs a command in there."""
    peer = make_ensemble(1, start=False)[1]
    folder = peer.ensemble.dir
    run("mount", "--bind", folder, folder)
    try:
        run("mount", "--make-shared", folder)
        enter = (*ENTER, "sh", "-c", OWN_PROC if request.param == "own-proc" else OTHERS_PROC, "-")
        plain = peer.command
        peer.command = lambda *options: [*enter, *plain(*options)]
        peer.start()
        with open(f"/proc/{peer.process.pid}/task/{peer.process.pid}/children", encoding="ascii") as children:
            daemon = children.read().split()[0]
        peer.inside = ("nsenter", "-t", daemon, "-p", "--")
        yield peer
        # A signal would reach unshare(1) alone.
        run("umount", peer.mount)
        assert peer.wait_ended() == 0
    finally:
        if peer.process is not None:
            subprocess.run(["pkill", "-KILL", "-P", str(peer.process.pid)], check=False)
            peer.process.send_signal(signal.SIGKILL)
        unmount(peer.mount)
        if is_mounted(folder):
            run("umount", "-l", folder)


def write(peer, where, script):
    """By a shell outside of the daemon's namespace, or inside."""
    run(*(peer.inside if where == "inside" else ()), "env", "-C", peer.mount, "bash", "-c", script)


@pytest.mark.parametrize("where", ["outside", "inside"])
def test_writers(peer, where):
    before = 0
    for script, expected in (
            ("echo v > f", "v\n"),
            (": > f", ""),
            ("{ echo a; sleep 0.02; /bin/echo b; (echo c); } > f", "a\nb\nc\n"),  # children have other lock_owners
            ("exec 9>f; /bin/echo a >&9; /bin/echo b >&9; exec 9>&-", "a\nb\n"),
            ("python3 -c 'import os; f = os.open(\"f\", os.O_WRONLY | os.O_TRUNC); os.write(f, b\"a\"); os.close(f)'",
             "a"),
            (f"echo {OLD.strip()} > x; cp x f", OLD),
    ):
        write(peer, where, script)
        assert peer.read("f") == expected, script
        assert version(peer, "f") == before + 1, script
        before += 1
    # Late, when somebody else writes last: RELEASE publishes it.
    write(peer, where, "{ sleep 0.1; echo late; } > f & exit")
    wait_until(lambda: peer.read("f") == "late\n", 10, "what was written last")


def test_a_close_in_between_publishes(peer):
    """The price of not being seen: bash closes a copy of the descriptor after each of its own commands there. What is
    only truncated is not published by that."""
    write(peer, "outside", "echo old > f; { echo log >&2; cat f >> seen; echo a; echo log >&2; cat f >> seen; echo b; } > f")
    assert peer.read("f") == "a\nb\n"
    assert peer.read("seen") == "old\na\n"


def test_signals_are_not_mistaken(peer):
    """Changes of processes that the daemon cannot see are waited for like any others, and answered."""
    shell(f"cd {peer.mount} && for i in $(seq 20); do mkdir d$i & done; wait")
    assert run("ls", peer.mount).split() == sorted(f"d{number}" for number in range(1, 21))
