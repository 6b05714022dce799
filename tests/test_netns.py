"""Partitions between peers that have addresses of their own: packets are dropped without a word, one way or both."""

import signal

import pytest
from lib.ensemble import run, wait_until
from lib.history import Clients
from lib.netns import PORT, Separated, genkey
from lib.quorum import PEER_TIMEOUT, SLACK, wait_lost

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.usefixtures("nobody_left")]

TIMEO = 2


@pytest.fixture
def separated(make_ensemble, folder):
    """With a key; `insecure=True`: without."""

    def make(insecure=False, **more):
        config = {"znodefs.insecure": "yes"} if insecure else {"znodefs.keyFile": genkey(folder)}
        return make_ensemble(3, kind=Separated, options=(f"timeo={TIMEO}",), config=config, **more)

    return make


def others(ensemble, peer):
    return [each for each in ensemble if each is not peer]


def assert_cut_off(peer):
    """It reads, and changes nothing."""
    wait_lost(peer, PEER_TIMEOUT + SLACK)
    assert peer.read("kept") == "kept\n"
    refused = run("mkdir", peer.path("refused"), check=False)
    assert refused.returncode != 0


def elections(peer):
    return int(next(line for line in peer.metrics().splitlines() if line.startswith("znodefs_elections_total")).split()[1])


def test_leader_in_the_minority(separated):
    """The others elect another; what was handed to the old one alone is never seen; then it follows."""
    ensemble = separated()
    ensemble[1].write("kept", "kept\n")
    ensemble.wait_equal()
    old = ensemble.leader()
    majority = others(ensemble, old)
    ensemble.isolate(old.sid)
    assert_cut_off(old)
    new = ensemble.wait_quorum(among=majority, deadline=30)
    assert new is not old
    majority[0].write("meanwhile", "by the majority\n")
    assert old.status()["state"] == "looking"
    assert run("ls", old.mount).split() == ["kept"]
    ensemble.heal()
    ensemble.wait_quorum()
    tree = ensemble.assert_same_trees()
    assert "meanwhile" in tree and "refused" not in tree
    assert old.read("meanwhile") == "by the majority\n"


def test_follower_in_the_minority(separated):
    """Nobody else notices; it comes back to the same leader, and without an election among the others."""
    ensemble = separated(insecure=True)
    ensemble[1].write("kept", "kept\n")
    ensemble.wait_equal()
    leader, follower = ensemble.leader(), ensemble.followers()[0]
    majority = others(ensemble, follower)
    before = [elections(peer) for peer in majority]
    ensemble.isolate(follower.sid)
    assert_cut_off(follower)
    majority[0].write("meanwhile", "x\n")
    ensemble.heal()
    assert ensemble.wait_quorum() is leader
    assert [elections(peer) for peer in majority] == before
    ensemble.assert_same_trees()


@pytest.mark.parametrize("heard", [False, True])
def test_leader_that_is_not_heard_or_does_not_hear(separated, heard):
    """One way only, between the leader and both others: there is another leader within seconds, and one at a time."""
    ensemble = separated()
    ensemble[1].write("kept", "kept\n")
    ensemble.wait_equal()
    old = ensemble.leader()
    majority = others(ensemble, old)
    for peer in majority:
        ensemble.cut_one_way(*((peer.sid, old.sid) if heard else (old.sid, peer.sid)))
    wait_lost(old, PEER_TIMEOUT + SLACK)
    wait_until(lambda: ensemble.wait_quorum(among=majority, deadline=5) is not old, 30, "another leader")
    majority[0].write("meanwhile", "x\n")
    assert old.status()["state"] == "looking"
    ensemble.heal()
    ensemble.wait_quorum()
    ensemble.assert_same_trees()


def test_two_that_lose_each_other(separated):
    """The leader and one follower lose each other, the third has both: writes go on, and no election follows another."""
    ensemble = separated()
    ensemble[1].write("kept", "kept\n")
    ensemble.wait_equal()
    leader, (follower, third) = ensemble.leader(), ensemble.followers()
    for cut in (ensemble.cut_one_way, ensemble.cut):
        cut(follower.sid, leader.sid)
        wait_until(lambda: ensemble.wait_quorum(among=[third], deadline=5), 30, "the third to have a quorum")
        third.write("meanwhile", "x\n")
        before = elections(third)
        for number in range(50):
            third.write("often", f"{number}\n")
        assert elections(third) - before <= 2
        ensemble.heal()
        ensemble.wait_quorum()
        ensemble.assert_same_trees()
        leader = ensemble.leader()
        follower, third = ensemble.followers()


def test_histories_under_partitions(separated):
    ensemble = separated()
    with Clients(ensemble, "partitions") as clients:
        for cut in (ensemble.isolate, lambda sid: [ensemble.cut_one_way(sid, each) for each in ensemble.peers if each != sid]):
            leader = ensemble.leader()
            cut(leader.sid)
            clients.wait_progress(others(ensemble, leader))
            ensemble.heal()
            ensemble.wait_quorum()
            clients.wait_progress()
        follower = ensemble.followers()[0]
        ensemble.cut_one_way(ensemble.leader().sid, follower.sid)
        clients.wait_progress(others(ensemble, follower))
        ensemble.heal()
        # Nobody has a majority, and somebody sleeps meanwhile.
        ensemble.isolate(1)
        ensemble[2].send(signal.SIGSTOP)
        wait_lost(ensemble[3])
        ensemble[2].send(signal.SIGCONT)
        ensemble.heal()
        ensemble.wait_quorum()
        clients.wait_progress()
        clients.check()
    ensemble.assert_same_trees()


def test_members_that_move(separated):
    """Each gets another address, one after the other, as README tells. Calls wait at most as long as a restart takes: of
    the three the one that moves is found by those alone that know its new address."""
    ensemble = separated()
    with Clients(ensemble, "moves") as clients:
        for sid in ensemble.peers:
            stay = others(ensemble, ensemble[sid])
            ensemble[sid].stop()
            ensemble.move(sid, sid + 100)
            clients.wait_progress(stay)
            ensemble.write_configs()
            ensemble[sid].restart()
            for peer in stay:
                peer.restart()
                ensemble.wait_quorum(among=stay)
                clients.wait_progress(stay)
            ensemble.wait_quorum()
        clients.check()
    ensemble.assert_same_trees()
    addresses = {row["address"] for row in ensemble[1].peers()}
    assert addresses == {f"{ensemble.ip(sid)}:{PORT}" for sid in ensemble.peers}, addresses
