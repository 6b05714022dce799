"""Histories of concurrent clients on all mounts are linearizable, whatever fails under them. And the checker is right."""

import random
import signal

import pytest
from lib.history import Clients
from lib.linearizable import Call, linearizable
from lib.relayed import Relayed


def on_mounts(test):
    return pytest.mark.root(pytest.mark.usefixtures("nobody_left")(test))


# ---- the checker ----

def history(*calls):
    """Calls as (op, arg, result, call, ret)."""
    return [Call("c", "k", "k", *each) for each in calls]


@pytest.mark.parametrize("kind, right, calls", [
    ("register", True, [("write", "a", "ok", 0, 1), ("read", None, "a", 2, 3)]),
    ("register", False, [("write", "a", "ok", 0, 1), ("read", None, "", 2, 3)]),
    ("register", True, [("write", "a", "ok", 0, 3), ("read", None, "", 1, 2)]),
    ("register", True, [("write", "a", "ok", 0, 3), ("read", None, "a", 1, 2)]),
    # A new value and then the old one again.
    ("register", False, [("write", "a", "ok", 0, 9), ("read", None, "a", 1, 2), ("read", None, "", 3, 4)]),
    ("register", False, [("read", None, "b", 0, 1)]),
    # In doubt: at any time, once, or never.
    ("register", True, [("write", "a", None, 0, None), ("read", None, "", 5, 6), ("read", None, "a", 7, 8)]),
    ("register", True, [("write", "a", None, 0, None), ("read", None, "", 5, 6)]),
    ("register", False, [("write", "a", None, 0, None), ("write", "b", "ok", 1, 2), ("read", None, "a", 3, 4),
                         ("read", None, "b", 5, 6)]),
    ("register", False, [("write", "a", None, 4, None), ("read", None, "a", 1, 2)]),
    ("append", True, [("append", "a", "ok", 0, 9), ("append", "b", "ok", 0, 9), ("read", None, "b\na\n", 10, 11)]),
    ("append", False, [("append", "a", "ok", 0, 1), ("append", "b", "ok", 2, 3), ("read", None, "b\na\n", 10, 11)]),
    ("append", False, [("append", "a", "ok", 0, 1), ("append", "b", "ok", 2, 3), ("read", None, "b\n", 10, 11)]),
    ("append", False, [("append", "a", None, 0, None), ("read", None, "a\na\n", 1, 2)]),
    ("append", False, [("append", "a", "ok", 0, 1), ("read", None, "", 2, 3)]),
    ("append", True, [("append", "a", None, 0, None), ("read", None, "", 2, 3)]),
    ("append", False, [("read", None, "x\n", 0, 1)]),
    ("compare", True, [("create", "a", "ok", 0, 1), ("create", "b", "exists", 2, 3), ("read", None, "a", 4, 5)]),
    ("compare", False, [("create", "a", "ok", 0, 1), ("create", "b", "ok", 2, 3)]),
    ("compare", False, [("create", "a", "ok", 0, 1), ("remove", None, "absent", 2, 3)]),
    ("compare", True, [("create", "a", "ok", 0, 1), ("remove", None, None, 2, None), ("create", "b", "ok", 3, 4)]),
    ("compare", False, [("remove", None, "ok", 0, 1)]),
])
def test_checker(kind, right, calls):
    assert linearizable(kind, history(*calls)) is right


class Simulated:
    """Calls of many clients at a register that takes effect at one moment of each call."""

    def __init__(self, seed, calls):
        rng = random.Random(seed)
        effects = []
        self.calls = []
        free = [0.0] * 5
        for number in range(calls):
            client = rng.randrange(5)
            begun = free[client] + rng.random()
            ended = free[client] = begun + rng.random() * 3
            effects.append((rng.uniform(begun, ended), number, begun, ended, rng.random() < 0.5))
        state = ""
        for _, number, begun, ended, writes in sorted(effects):
            if writes:
                state = str(number)
            self.calls.append(Call("c", "register", "k", "write" if writes else "read", state if writes else None,
                                   "ok" if writes else state, begun, ended))


def test_checker_with_many_calls():
    """It decides histories of hundreds of calls, and finds one stale read in them."""
    for seed in range(10):
        calls = Simulated(seed, 400).calls
        assert linearizable("register", calls)
        late = max((each for each in calls if each.op == "read"), key=lambda each: each.call)
        stale = min((each for each in calls if each.op == "write"), key=lambda each: each.ret).arg
        assert not linearizable("register", [each._replace(result=stale) if each is late else each for each in calls])


# ---- real mounts ----

@pytest.fixture
def relayed(make_ensemble):
    return make_ensemble(3, kind=Relayed)


@on_mounts
def test_crashes_and_stops(three):
    with Clients(three, "crashes") as clients:
        for who in ("leader", "follower"):
            victim = three.leader() if who == "leader" else three.followers()[0]
            victim.kill9()
            clients.wait_progress([peer for peer in three if peer is not victim])
            victim.restart()
            three.wait_quorum()
            clients.wait_progress()
        for sid in three.peers:
            three[sid].send(signal.SIGSTOP)
            try:
                clients.wait_progress([peer for peer in three if peer.sid != sid])
            finally:
                three[sid].send(signal.SIGCONT)
            clients.wait_progress()
        assert clients.check() > 300
    three.assert_same_trees()


@on_mounts
def test_lines_that_stall_lose_and_break(relayed):
    """Each fault between the leader and one or both of the others; the clients go on where there is a majority."""
    with Clients(relayed, "relays") as clients:
        for mode in (("delay", 20), ("stall",), ("lose",), ("close",)):
            leader = relayed.leader()
            relayed.isolate(leader.sid, *mode)
            clients.wait_progress([peer for peer in relayed if peer is not leader])
            relayed.heal()
            relayed.wait_quorum()
            clients.wait_progress()
        leader, follower = relayed.leader(), relayed.followers()[0]
        for pair in ((leader.sid, follower.sid), (follower.sid, leader.sid)):
            relayed.stall_one_way(*pair)
            clients.wait_progress([peer for peer in relayed if peer.sid not in pair])
            relayed.heal()
            relayed.wait_quorum()
        for _ in range(5):
            relayed.set(1, 2, "cut")
            relayed.set(2, 3, "cut")
            clients.wait_progress()
        clients.check()
    relayed.assert_same_trees()
