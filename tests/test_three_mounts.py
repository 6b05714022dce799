"""Three mounts show one tree: what is done on one is seen on the others."""

import os
import re
import signal

import pytest
from lib.ensemble import is_mounted, run, shell, wait_until

pytestmark = pytest.mark.root


def seen_everywhere(ensemble, script, expected):
    """`script` run in every mount prints `expected`, once the change has arrived there."""
    for peer in ensemble:
        wait_until(lambda: shell(f"cd {peer.mount} && {script}") == expected, 10,
                   f"{script!r} to print {expected!r} at server {peer.sid}")


def test_echo_and_cat(shared):
    for peer in shared:
        shell(f"echo from {peer.sid} > {peer.path('echo')}")
        seen_everywhere(shared, "cat echo", f"from {peer.sid}\n")


def test_own_writes_at_once(shared):
    """A mount sees what it has written itself without waiting, follower or leader."""
    for peer in shared:
        for number in range(20):
            shell(f"echo {number} > {peer.path('own')}; test $(cat {peer.path('own')}) = {number}")


def test_group_publishes_whole(shared):
    shell(f"{{ echo a; /bin/echo b; cat /etc/hostname >/dev/null; echo c; }} > {shared[1].path('group')}")
    seen_everywhere(shared, "cat group", "a\nb\nc\n")


def test_directories(shared):
    shell(f"mkdir -p {shared[1].path('d/e/f')}")
    run("sync", shared[2].mount)  # what was done on the other is here
    shell(f"echo x > {shared[2].path('d/e/f/x')}")
    seen_everywhere(shared, "find d | sort", "d\nd/e\nd/e/f\nd/e/f/x\n")
    shell(f"mv {shared[3].path('d/e')} {shared[3].path('moved')}")
    seen_everywhere(shared, "cat moved/f/x; ls d", "x\n")
    assert run("rmdir", shared[1].path("moved"), check=False).returncode != 0
    shell(f"rm -r {shared[2].path('moved')} {shared[2].path('d')}")
    seen_everywhere(shared, "ls -d d moved 2>/dev/null || true", "")


def test_rename_replaces(shared):
    shell(f"cd {shared[1].mount} && echo old > target && echo new > other && mv other target")
    seen_everywhere(shared, "cat target; ls other 2>/dev/null || true", "new\n")


def test_symlink(shared):
    shell(f"cd {shared[2].mount} && echo here > real && ln -s real link")
    seen_everywhere(shared, "readlink link; cat link", "real\nhere\n")


def test_mode_owner_times(shared):
    shell(f"cd {shared[3].mount} && echo x > attr && chmod 640 attr && chown 7:8 attr && touch -d @1000000000 attr")
    seen_everywhere(shared, "stat -c '%a %u %g %Y %s' attr", "640 7 8 1000000000 2\n")


def test_append_and_truncate(shared):
    shell(f"cd {shared[1].mount} && echo one > app")
    for peer in shared:
        shell(f"echo {peer.sid} >> {peer.path('app')}")
    seen_everywhere(shared, "sort app", "1\n2\n3\none\n")
    run("truncate", "-s", "3", shared[2].path("app"))
    seen_everywhere(shared, "cat app", "one")


def test_large_file_and_too_large(shared):
    contents = os.urandom(1024 * 1024)
    run("dd", f"of={shared[1].path('large')}", "bs=1M", "status=none", stdin=contents, text=False)
    for peer in shared:
        wait_until(lambda: run("cat", peer.path("large"), text=False) == contents, 10, "the large file")
    done = shell(f"head -c 1048577 /dev/zero > {shared[1].path('large')}", check=False)
    assert done.returncode != 0
    assert run("cat", shared[1].path("large"), text=False) == contents


def test_readdir_and_inodes(shared):
    shell(f"mkdir {shared[1].path('many')} && cd {shared[1].path('many')} && "
          "for i in $(seq 300); do : > f$i; done", deadline=60)
    shared.wait_equal()
    listings = {run("ls", "-i", peer.path("many")) for peer in shared}
    assert len(listings) == 1
    assert len(listings.pop().splitlines()) == 300
    shell(f"rm -r {shared[2].path('many')}", deadline=60)


def test_refusals(shared):
    assert "Operation not permitted" in run("mkfifo", shared[1].path("fifo"), check=False).stderr
    shell(f"echo x > {shared[1].path('plain')}")
    assert run("ln", shared[1].path("plain"), shared[1].path("hard"), check=False).returncode != 0
    assert run("mkdir", shared[1].path(".znodefs"), check=False).returncode != 0
    assert ".znodefs" not in run("ls", "-a", shared[1].mount)


def test_statfs(shared):
    assert run("df", "-P", shared[1].mount).splitlines()[1].split()[5] == shared[1].mount


def test_trees_are_equal(shared):
    shared.assert_same_trees()


def test_status(shared):
    leader = shared.leader()
    shared.wait_equal()
    states = {peer.sid: peer.status() for peer in shared}
    for sid, state in states.items():
        assert state["myid"] == str(sid)
        assert state["state"] == ("leading" if sid == leader.sid else "following")
        assert state["leader"] == str(leader.sid)
        assert state["role"] == "participant"
        assert state["quorum"] == "yes"
        assert float(state["quorum_lost_s"]) == 0
        assert state["disk"] == "ok"
        assert re.fullmatch(r"0x[0-9a-f]+", state["zxid"])
        assert int(state["znodes"]) >= 1 and int(state["bytes"]) >= 0 and int(state["epoch"]) >= 1
        assert state["version"]
    assert len({state["ensemble"] for state in states.values()}) == 1
    assert states[1]["ensemble"] != "0x0"


def test_status_in_every_directory(shared):
    shell(f"mkdir -p {shared[1].path('sub/dir')}")
    assert "quorum\tyes" in run("cat", shared[1].path("sub/dir/.znodefs/status"))
    shell(f"rm -r {shared[1].path('sub')}")


def test_peers(shared):
    rows = shared.leader().peers()
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert sorted(row["state"] for row in rows) == ["following", "following", "leading"]
    for row in rows:
        assert row["role"] == "participant"
        assert re.fullmatch(r"127\.0\.0\.1:\d+", row["address"])


def test_metrics(shared):
    def value(text, name):
        return int(re.search(rf"^znodefs_{name} (\d+)$", text, re.MULTILINE).group(1))

    before = shared[1].metrics()
    shell(f"echo x > {shared[1].path('metric')}")
    after = shared[1].metrics()
    for name in ("txns_applied_total", "log_bytes_total", "fuse_requests_total", "publishes_total"):
        assert value(after, name) > value(before, name), name
    for line in after.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) znodefs_\w+ .+|znodefs_\w+(\{\w+="[^"]*"\})? \d+(\.\d+)?', line), line


def test_umount_ends_the_peer(make_ensemble):
    ensemble = make_ensemble(3)
    peer = ensemble[2]
    run("umount", peer.mount)
    assert peer.wait_ended() == 0
    ensemble.wait_quorum()
    shell(f"echo without > {ensemble[1].path('x')}")
    peer.start()
    wait_until(lambda: peer.read("x") == "without\n", 30, "the peer to catch up")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_cleanly(make_ensemble, number):
    ensemble = make_ensemble(3)
    shell(f"echo x > {ensemble[1].path('x')}")
    for peer in ensemble:
        peer.stop(number)
        assert not is_mounted(peer.mount)
    for peer in ensemble:
        peer.start(wait=False)
    ensemble.wait_quorum()
    for peer in ensemble:
        wait_until(lambda: peer.read("x") == "x\n", 30, "what was written before")


def test_standalone(make_ensemble):
    ensemble = make_ensemble(1)
    peer = ensemble[1]
    shell(f"cd {peer.mount} && echo x > a && mkdir b && mv a b/c")
    assert peer.status()["state"] == "leading"
    peer.restart()
    wait_until(lambda: peer.read("b/c") == "x\n", 30, "what was written before")


def test_standalone_grows(make_ensemble):
    """The dataDir of a standalone peer becomes server 1's of an ensemble."""
    one = make_ensemble(1)
    shell(f"echo alone > {one[1].path('x')}")
    one[1].stop()
    three = make_ensemble(3, start=False)
    os.rename(one[1].data, three[1].data + ".old")
    run("cp", "-aT", three[1].data + ".old", three[1].data)
    with open(os.path.join(three[1].data, "myid"), "w", encoding="ascii") as myid:
        myid.write("1\n")
    three.start()
    for peer in three:
        wait_until(lambda: peer.read("x") == "alone\n", 30, "the standalone peer's file")
    run("rm", "-r", three[1].data + ".old")


def test_no_quorum(make_ensemble):
    """Reads go on, changes fail after timeo; afterwards everything goes on."""
    ensemble = make_ensemble(3, options=("timeo=1",))
    shell(f"echo x > {ensemble[1].path('x')}")
    ensemble.wait_equal()
    ensemble[2].kill9()
    ensemble[3].kill9()
    wait_until(lambda: ensemble[1].status()["quorum"] == "no", 20, "the loss of the quorum")
    assert ensemble[1].read("x") == "x\n"
    done = run("mkdir", ensemble[1].path("d"), check=False)
    assert done.returncode != 0
    wait_until(lambda: "Read-only" in run("mkdir", ensemble[1].path("e"), check=False).stderr, 20, "EROFS")
    ensemble[2].restart()
    ensemble.wait_quorum()
    shell(f"echo y > {ensemble[1].path('x')}")
    wait_until(lambda: ensemble[2].read("x") == "y\n", 20, "the change")
