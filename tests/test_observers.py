"""Observers that no zoo.cfg lists, and mounts of a subtree."""

import os
import signal
import subprocess
import sys

import pytest
from lib.ensemble import BINARY, ENVIRONMENT, Observer, free_ports, run, shell, wait_until

pytestmark = pytest.mark.root

UNLISTED_MIN = 1 << 32
MOUNTPOINT = 4
WRITER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib", "writer.py")


def everywhere(ensemble, name, contents):
    """All mounts, observers' too, show the file with these contents."""
    for peer in list(ensemble) + ensemble.observers:
        if peer.process is not None:
            wait_until(lambda each=peer: each.read(name) == contents, 30, f"{name} at {peer.sid}")


def test_many_observers(make_ensemble):
    ensemble = make_ensemble()
    ensemble[1].write("before", "there\n")
    observers = [ensemble.observer(f"o{i}") for i in range(5)]
    ids = {int(each.status()["myid"]) for each in observers}
    assert len(ids) == 5 and all(sid >= UNLISTED_MIN for sid in ids)
    for observer in observers:
        status = observer.status()
        assert status["role"] == "observer" and status["quorum"] == "yes"
        observer.write(f"by-{observer.sid}", f"{observer.sid}\n")
        assert observer.read("before") == "there\n"
    for observer in observers:
        everywhere(ensemble, f"by-{observer.sid}", f"{observer.sid}\n")
    for peer in ensemble:
        seen = {int(row["id"]): row for row in peer.peers()}
        assert ids <= set(seen)
        assert all(seen[sid]["role"] == "observer" and seen[sid]["address"].startswith("127.0.0.1:") for sid in ids)
    assert {int(row["id"]) for row in observers[0].peers()} == {1, 2, 3, int(observers[0].status()["myid"])}
    ensemble.wait_equal()
    for observer in observers:
        observer.stop()
    for peer in ensemble:
        wait_until(lambda each=peer: len(each.peers()) == 3, 30, "the observers to be forgotten")


def test_leader_killed_while_observers_write(make_ensemble, folder):
    ensemble = make_ensemble()
    observers = [ensemble.observer(f"o{i}") for i in range(4)]
    ensemble[1].write("shared", "")
    everywhere(ensemble, "shared", "")
    journals = [os.path.join(folder, f"journal-{each.sid}") for each in observers]
    writers = [
        subprocess.Popen([sys.executable, WRITER, each.mount, f"w-{each.sid}", journal])
        for each, journal in zip(observers, journals)
    ]
    try:
        for _ in range(2):
            wait_until(lambda: all(progress(journal) for journal in journals), 60, "the writers to get on")
            leader = ensemble.leader()
            leader.kill9()
            marks = [lines(journal) for journal in journals]
            wait_until(lambda seen=marks: all(lines(j) > m + 5 for j, m in zip(journals, seen)), 60, "writes to go on")
            leader.restart()
        observers[0].kill9()
    finally:
        for writer in writers:
            writer.send_signal(signal.SIGTERM)
    for writer in writers:
        assert writer.wait(60) == 0
    observers[0].restart()
    ensemble.wait_quorum()
    ensemble.wait_equal()
    shared = ensemble[1].read("shared").splitlines()
    assert len(set(shared)) == len(shared), "an append took effect twice"
    for observer, journal in zip(observers, journals):
        with open(journal, encoding="ascii") as said:
            told = [line.split() for line in said]
        files = set(run("ls", ensemble[2].path(f"w-{observer.sid}")).split())
        assert {words[1] for words in told if words[0] == "file"} <= files
        assert {f"w-{observer.sid} {words[1]}" for words in told if words[0] == "append"} <= set(shared)
        if observer is not observers[0]:
            assert not [words for words in told if words[0] == "failed"]


def lines(journal):
    try:
        with open(journal, encoding="ascii") as said:
            return sum(1 for _ in said)
    except FileNotFoundError:
        return 0


def progress(journal):
    return lines(journal) > 10


def test_killed_observer_starts_over(make_ensemble):
    ensemble = make_ensemble()
    observer = ensemble.observer("o")
    observer.write("f", "one\n")
    before = observer.status()["myid"]
    observer.kill9()
    ensemble[1].write("f", "two\n")
    observer.restart()
    observer.wait_state()
    assert observer.read("f") == "two\n"
    assert observer.status()["myid"] != before
    wait_until(lambda: len(ensemble[1].peers()) == 4, 30, "the old connection to be forgotten")


def test_observer_with_a_data_dir(make_ensemble):
    ensemble = make_ensemble()
    observer = ensemble.observer("o", keep=True)
    observer.write("f", "one\n")
    before = observer.status()["myid"]
    observer.kill9()
    ensemble[1].write("f", "two\n")
    observer.restart()
    observer.wait_state()
    assert observer.status()["myid"] == before
    assert observer.read("f") == "two\n"
    observer.stop()
    assert "epochs" in os.listdir(os.path.join(observer.data, "znodefs"))
    for peer in ensemble:
        peer.stop()
    observer.start("timeo=0.3")  # nobody there: the last state known, after timeo
    wait_until(lambda: observer.read("f") in ("one\n", "two\n"), 10, "the state on disk")
    assert observer.status()["quorum"] == "no"


def test_snapshots_to_observers(make_ensemble):
    """More than the leader keeps in memory: what joins is given a snapshot, and so is who slept too long."""
    ensemble = make_ensemble()
    shell(f"cd {ensemble[1].mount} && head -c 1000000 /dev/urandom > a && for i in $(seq 70); do cp a b$i; done", 120)
    observer = ensemble.observer("o")
    ensemble.wait_equal()
    run("cmp", observer.path("b70"), ensemble[2].path("a"))
    observer.send(signal.SIGSTOP)
    shell(f"cd {ensemble[1].mount} && rm b1 && for i in $(seq 70); do cp a c$i; done", 120)
    observer.send(signal.SIGCONT)
    wait_until(lambda: observer.status()["quorum"] == "yes", 60, "the observer to be back")
    ensemble.wait_equal()
    run("cmp", observer.path("c70"), ensemble[2].path("a"))
    assert run("ls", observer.path("b1"), check=False).returncode != 0


def test_lag_of_observers_is_seen(make_ensemble):
    ensemble = make_ensemble()
    observer = ensemble.observer("o")
    sid = observer.status()["myid"]
    for number in range(20):
        observer.write(f"f{number}", "x\n")
    leader = ensemble.leader()
    wait_until(lambda: [row for row in leader.peers() if row["id"] == sid and row["lag"] == "0"], 10, "no lag")
    assert "znodefs_unlisted_observers 1" in leader.metrics()


def test_the_leader_bounds_what_observers_write(make_ensemble):
    ensemble = make_ensemble(config={"jute.maxbuffer": 2000000})
    observer = ensemble.observer("o")
    shell(f"head -c 2000000 /dev/zero > {observer.path('fits')}")
    observer.write("f", "old\n")
    done = shell(f"head -c 2000001 /dev/zero > {ensemble.dir}/large && cp {ensemble.dir}/large {observer.path('f')}",
                 check=False)
    assert done.returncode != 0 and "File too large" in done.stderr
    assert observer.read("f") == "old\n"
    everywhere(ensemble, "f", "old\n")


def test_wrong_hosts(make_ensemble):
    """The command returns, says that it looks, and never shows an empty tree."""
    ensemble = make_ensemble()
    observer = ensemble.observer("o", "timeo=0.5", hosts=[f"127.0.0.1:{free_ports(1)[0]}"], wait=False)
    observer.wait_answering()
    status = observer.status()
    assert status["state"] == "looking" and status["quorum"] == "no" and status["readable"] == "no"
    for argv in (["ls", observer.mount], ["touch", observer.path("f")], ["cat", observer.path("f")]):
        done = run(*argv, check=False)
        assert done.returncode != 0 and "Input/output error" in done.stderr
    assert observer.stop() is None


def test_hosts_given_twice(make_ensemble):
    ensemble = make_ensemble()
    port = {sid: ensemble.ports[2 * sid - 2] for sid in (1, 2, 3)}
    hosts = [f"localhost:{port[1]}", f"127.0.0.1:{port[2]}", f"127.0.0.1:{port[1]}", f"localhost:{port[3]}"]
    observer = ensemble.observer("o", hosts=hosts)
    observer.write("f", "x\n")
    everywhere(ensemble, "f", "x\n")
    assert len(observer.peers()) == 4
    for sid in (1, 2, 3):
        ensemble[sid].restart()
        ensemble.wait_quorum()
        wait_until(lambda: observer.status()["quorum"] == "yes", 30, "the observer's leader")
    wait_until(lambda: len(observer.peers()) == 4, 30, "all participants")


@pytest.mark.parametrize("sid", (1, 2, 3))
def test_one_host_is_enough(make_ensemble, sid):
    """Whoever leads: the others are learned of; and they are enough when that one is gone."""
    ensemble = make_ensemble()
    observer = ensemble.observer("o", hosts=[f"localhost:{ensemble.ports[2 * sid - 2]}"])
    wait_until(lambda: len(observer.peers()) == 4, 30, "all participants")
    ensemble[sid].stop()
    observer.write("f", "x\n")
    everywhere(ensemble, "f", "x\n")


def test_read_only(make_ensemble):
    ensemble = make_ensemble()
    observer = ensemble.observer("o", "ro")
    ensemble[1].write("f", "x\n")
    everywhere(ensemble, "f", "x\n")
    done = shell(f"echo y > {observer.path('f')}", check=False)
    assert done.returncode != 0 and "Read-only" in done.stderr


def test_subtree(make_ensemble):
    ensemble = make_ensemble()
    shell(f"cd {ensemble[1].mount} && mkdir -p app/one/deep && echo v > app/one/f && echo top > top")
    observer = ensemble.observer("o", subtree="/app/one")
    assert sorted(run("ls", "-A", observer.mount).split()) == ["deep", "f"]
    assert observer.read("f") == "v\n"
    script = (
        f"cd {observer.mount} && echo new > g && mkdir d && mv g d/h && mv d/h deep && ln -s f link && cat link &&"
        " echo more >> f && chmod 600 f && touch f && setfattr -n user.k -v 1 . && getfattr -n znode.version f &&"
        " rmdir d && mv -T deep/h top && rm link && find . | sort && stat -c %i . && ls -di ."
    )
    shell(script)
    assert ensemble[2].read("app/one/top") == "new\n"
    wait_until(lambda: ensemble[3].read("app/one/f") == "v\nmore\n", 10)
    assert ensemble[1].read("top") == "top\n"
    assert shell(f"cd {observer.mount}/.. && cat {observer.mount}/.znodefs/status").startswith("state\tobserving")
    assert shell(f"cat {observer.mount}/deep/.znodefs/status").startswith("state\tobserving")
    assert shell(f"cd {observer.mount}/deep && ls ..").split() == ["deep", "f", "top"]
    assert run("stat", "-c", "%a", observer.mount).strip() == run("stat", "-c", "%a", ensemble[1].path("app/one")).strip()
    # The root moved elsewhere is still the root; removed, nothing is left, and the mount can still be taken away.
    shell(f"mv {ensemble[1].path('app')} {ensemble[1].path('moved')}")
    wait_until(lambda: observer.read("top") == "new\n", 10)
    observer.write("after", "move\n")
    assert ensemble[1].read("moved/one/after") == "move\n"
    run("rm", "-r", ensemble[1].path("moved"))
    wait_until(lambda: run("stat", observer.path("top"), check=False).returncode != 0, 10, "the subtree to be gone")
    for argv in (["ls", observer.mount], ["touch", observer.path("x")], ["stat", observer.path("top")],
                 ["mkdir", observer.path("y")], ["cat", observer.path("top")]):
        done = run(*argv, check=False)
        assert done.returncode != 0 and "Stale" in done.stderr, (argv, done.stderr)
    run("umount", observer.mount)
    assert observer.wait_ended() == 0


def refused(ensemble, name, **kwargs):
    """Starts an observer that must not get anywhere; its log."""
    options = kwargs.pop("options", [])
    observer = Observer(ensemble, name, **kwargs)
    ensemble.observers.append(observer)
    with open(observer.log, "ab") as log:
        observer.process = subprocess.Popen(observer.command(*options), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=ENVIRONMENT)
    code = observer.wait_ended()
    return code, observer.log_text()


def test_subtree_that_is_not_there(make_ensemble):
    ensemble = make_ensemble()
    ensemble[1].write("file", "x\n")
    run("ln", "-s", "file", ensemble[1].path("link"))
    for name, subtree, words in (
        ("a", "/nowhere", "/nowhere does not exist"),
        ("b", "/file", "/file is not a directory"),
        ("c", "/file/below", "/file is not a directory"),
        ("d", "/link", "/link is not a directory"),
    ):
        code, log = refused(ensemble, name, subtree=subtree)
        assert code == MOUNTPOINT and words in log, log
    code, log = refused(ensemble, "e", subtree="/app", hosts=[f"127.0.0.1:{free_ports(1)[0]}"], options=["timeo=0.5"])
    assert code == MOUNTPOINT and "timeo" in log, log
    # In the background the command itself says so.
    mount = os.path.join(ensemble.dir, "mount-back")
    os.mkdir(mount)
    hosts = ",".join(f"127.0.0.1:{ensemble.ports[2 * sid - 2]}" for sid in (1, 2, 3))
    done = run(BINARY, f"{hosts}:/nowhere", mount, check=False)
    assert done.returncode == MOUNTPOINT and "/nowhere does not exist" in done.stderr


def test_wiped_member_at_a_new_address(make_ensemble):
    """One after the other the members hear of a new address; the data comes from those that have it."""
    ensemble = make_ensemble()
    ensemble[1].write("f", "kept\n")
    early = ensemble.observer("early", hosts=[f"127.0.0.1:{ensemble.ports[2 * sid - 2]}" for sid in (1, 2, 3)])
    ensemble[3].stop()
    shell(f"rm -rf {ensemble[3].data}/znodefs")
    ensemble.ports[4:6] = free_ports(2)
    ensemble.write_configs()
    ensemble[3].start()
    for sid in (1, 2):
        ensemble[sid].restart()
        wait_until(lambda each=sid: ensemble[each].status()["quorum"] == "yes", 30, "a quorum after the restart")
    ensemble.wait_quorum()
    everywhere(ensemble, "f", "kept\n")
    wait_until(lambda: {row["id"] for row in early.peers()} >= {"1", "2", "3"}, 30, "the new address to be learned")
    observer = ensemble.observer("o")
    observer.write("g", "new\n")
    everywhere(ensemble, "g", "new\n")
    ensemble.assert_same_trees()
