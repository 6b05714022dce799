"""znodefs-check on what real ensembles leave behind: sound, torn, damaged. It never calls sound what a start refuses."""

import json
import os
import random
import re
import shutil
import subprocess

import pytest
from lib.ensemble import BINARY, ENVIRONMENT, SANITIZED, run, shell

pytestmark = pytest.mark.root

CHECK = os.path.join(os.path.dirname(BINARY), "znodefs-check")
SOUND, USAGE, UNREAD, DAMAGED = 0, 1, 2, 3

# How many bits of each file are flipped; ZNODEFS_CHECK_ALL=1: one in every byte.
FLIPS = 8 if SANITIZED else 25
ALL = os.environ.get("ZNODEFS_CHECK_ALL") == "1"


def check(data, *options, expect=None):
    done = subprocess.run([CHECK, data, *options], capture_output=True, text=True, timeout=120, check=False,
                          env=ENVIRONMENT)
    assert done.returncode in (SOUND, USAGE, UNREAD, DAMAGED), f"{done.returncode}: {done.stdout}{done.stderr}"
    if expect is not None:
        assert done.returncode == expect, done.stdout + done.stderr
    return done


def items(data, *options, expect=None):
    return [json.loads(line) for line in check(data, "--json", *options, expect=expect).stdout.splitlines()]


def one(found, kind):
    matching = [item for item in found if item["item"] == kind]
    assert len(matching) == 1, (kind, found)
    return matching[0]


@pytest.fixture
def stopped(make_ensemble):
    """Three servers that were used, restarted and stopped: several snapshots and segments each."""
    ensemble = make_ensemble(3, config={"snapCount": 20, "preAllocSize": 64, "autopurge.snapRetainCount": 50})
    shell(f"cd {ensemble[1].mount} && mkdir -p a/b && for i in $(seq 30); do echo $i > a/b/$i; done; ln -s a l; "
          "mv a/b/1 'a/b/one two'; printf x >> a/b/2; setfattr -n user.k -v v a; rm a/b/3")
    ensemble.wait_equal()
    with open(os.path.join(ensemble[1].data, "znodefs", "epochs"), "rb") as epochs:
        ensemble.first_epochs = epochs.read()
    for peer in ensemble:
        peer.restart()
    ensemble.wait_quorum()
    shell(f"cd {ensemble[2].mount} && for i in $(seq 12); do echo $i > last-$i; done")
    ensemble.wait_equal()
    ensemble.digest = ensemble[1].status()["digest"]
    for peer in ensemble:
        peer.stop()
    return ensemble


def ours(data, prefix):
    folder = os.path.join(data, "znodefs")
    return sorted((os.path.join(folder, name) for name in os.listdir(folder) if re.match(prefix + r"\.[0-9a-f]+$", name)),
                  key=lambda path: int(path.rsplit(".", 1)[1], 16))


def unchanged(data):
    return {path: (os.stat(path).st_mtime_ns, os.stat(path).st_size) for path in ours(data, "log") + ours(data, "snapshot")}


def test_sound(stopped):
    recovered = set()
    for peer in stopped:
        before = unchanged(peer.data)
        found = items(peer.data, expect=SOUND)
        assert unchanged(peer.data) == before
        assert one(found, "epochs")["server"] == peer.sid
        assert len([item for item in found if item["item"] == "log"]) == len(ours(peer.data, "log")) >= 2
        assert len([item for item in found if item["item"] == "snapshot"]) == len(ours(peer.data, "snapshot")) >= 1
        assert all(item["state"] == "whole" for item in found if item["item"] in ("log", "snapshot"))
        recovery = one(found, "recovery")
        recovered.add((recovery["logged"], recovery["ensemble"]))
        if recovery["uncommitted"] == 0:
            assert int(recovery["digest"], 16) == int(stopped.digest, 16)
        assert one(found, "verdict")["state"] == "sound"
    assert len(recovered) == 1, recovered  # all stopped with the same history


def test_lists(stopped):
    data = stopped[1].data
    found = items(data, "--log", "--snapshot", expect=SOUND)
    changes = [item for item in found if item["item"] == "txn"]
    assert len(changes) == sum(item["records"] for item in found if item["item"] == "log")
    created = [item for item in changes if item["op"] == "create"]
    assert "/last-12" in [item["path"] for item in created]
    assert all(re.match(r"20\d\d-\d\d-\d\dT[\d:]+\.\d{9}Z$", item["time"]) for item in changes)
    newest = os.path.basename(ours(data, "snapshot")[-1])
    nodes = [item for item in items(data, "-s", newest) if item["item"] == "znode"]
    assert len(nodes) == next(item for item in found if item.get("name") == newest)["znodes"]
    assert "/a/b/one\\040two" in [item["path"] for item in nodes]
    text = check(data, "-l").stdout
    assert len(re.findall(r"^txn 0x[0-9a-f]+ time=\S+ session=0x\S+ seq=\d+ op=", text, re.MULTILINE)) == len(changes)


def test_usage(folder):
    assert subprocess.run([CHECK], capture_output=True, check=False).returncode == USAGE
    check(folder, "--no-such-option", expect=USAGE)
    check(folder, expect=UNREAD)
    check(os.path.join(folder, "absent"), expect=UNREAD)
    assert run(CHECK, "--version").startswith("znodefs-check ")


def test_running_peer_is_refused(make_ensemble):
    ensemble = make_ensemble(1)
    refused = check(ensemble[1].data, expect=UNREAD)
    assert "a peer runs on it" in refused.stderr
    check(ensemble[1].data, "--force", expect=SOUND)


def test_folder_alone_and_read_only(stopped, folder):
    """A copy of the folder, which nobody may write to."""
    copy = os.path.join(folder, "copy")
    shutil.copytree(os.path.join(stopped[1].data, "znodefs"), copy)
    os.chmod(copy, 0o500)
    assert one(items(copy, expect=SOUND), "verdict")["state"] == "sound"


def last_record(path):
    """Where the last record of a segment begins and ends: see store/txnlog_record.c."""
    with open(path, "rb") as segment:
        data = segment.read()
    begin, end = None, 4096
    while data[end:end + 4] == b"ZREC":
        begin, end = end, end + (56 + int.from_bytes(data[end + 4:end + 8], "little") + 7 & ~7)
    return begin, end


def test_torn_at_every_byte(stopped, folder):
    """Of the last record: the part that was not written is cut off, or still zero."""
    data = os.path.join(folder, "copy")
    shutil.copytree(stopped[1].data, data)
    path = ours(data, "log")[-1]
    before = one(items(data, expect=SOUND), "recovery")
    snapshots = ["0x" + each.rsplit(".", 1)[1] for each in ours(data, "snapshot")]
    begin, end = last_record(path)
    with open(path, "rb") as segment:
        whole = segment.read()
    for at in range(begin + 1, end):
        for rest in (b"", bytes(len(whole) - at)):
            with open(path, "wb") as segment:
                segment.write(whole[:at] + rest)
            found = items(data, expect=SOUND)
            log = [item for item in found if item["item"] == "log"][-1]
            if whole[at:end].strip(b"\0") or not rest:  # else what is missing are zeros
                assert (log["state"], log["end"]) == ("torn", begin), at
                # A snapshot may have been written at that very transaction: then nothing is lost.
                assert one(found, "recovery")["logged"] != before["logged"] or before["logged"] in snapshots
    # A start agrees.
    with open(path, "wb") as segment:
        segment.write(whole[:begin + 20])
    peer = stopped[1]
    shutil.rmtree(peer.data)
    shutil.copytree(data, peer.data)
    peer.start()
    peer.stop()
    assert one(items(peer.data, expect=SOUND), "verdict")["state"] == "sound"


def positions(size, seed):
    if ALL:
        return range(size)
    return sorted(random.Random(seed).sample(range(size), min(FLIPS, size)))


def flip(path, at, bit):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


def test_a_bit_flipped_anywhere(stopped, folder):
    """Is reported, for the file that it is in; and where recovery refuses, the verdict is not sound."""
    data = os.path.join(folder, "copy")
    shutil.copytree(stopped[2].data, data)
    logs, snapshots = ours(data, "log"), ours(data, "snapshot")
    used = {path: last_record(path)[1] for path in logs}
    for path in logs + snapshots + [os.path.join(data, "znodefs", "epochs")]:
        size = os.path.getsize(path)
        where = set(positions(size, path[len(data):])) | set(positions(min(size, used.get(path, size)), 1))
        for at in sorted(where):
            flip(path, at, at % 8)
            found = items(data)
            place = f"{path} at {at}: {found}"
            name = os.path.basename(path)
            item = next(item for item in found if item.get("name") == name)
            verdict = one(found, "verdict")["state"]
            assert item["state"] in ("damaged", "torn"), place
            assert item["state"] == "damaged" or path == logs[-1], place
            assert (verdict == "sound") == (item["state"] == "torn"), place
            assert verdict != "sound" or one(found, "recovery")["state"] == "whole", place
            flip(path, at, at % 8)
    assert one(items(data, expect=SOUND), "verdict")["state"] == "sound"


def test_damage_as_a_start_sees_it(stopped):
    """The check and the daemon say the same, with file and offset and the mend."""
    peer = stopped[3]
    path = ours(peer.data, "log")[0]
    flip(path, 4096 + 60, 3)
    said = check(peer.data, expect=DAMAGED).stdout
    assert re.search(r"damage: log\.\S+ is damaged at offset 4096 .*synchronize again", said), said
    assert "recovery state=refused" in said and "verdict state=damaged" in said
    peer.start(wait=False)
    assert peer.wait_ended() == 3
    assert "is damaged at offset 4096" in peer.log_text()


def test_what_is_missing(stopped, folder):
    """A segment in the middle, the epochs, the newest snapshot."""
    for name in ("log", "epochs", "snapshot"):
        data = os.path.join(folder, name)
        shutil.copytree(stopped[1].data, data)
        if name == "epochs":
            os.unlink(os.path.join(data, "znodefs", "epochs"))
            said = check(data, expect=DAMAGED).stdout
            assert "no file epochs" in said, said
        elif name == "snapshot":
            for path in ours(data, "snapshot"):
                flip(path, os.path.getsize(path) - 1, 0)
            assert "bad checksum" in check(data, expect=DAMAGED).stdout
        else:
            logs = ours(data, "log")
            os.unlink(logs[len(logs) // 2] if len(logs) > 2 else logs[0])
            if len(logs) > 2:
                assert "a gap: " in check(data, expect=DAMAGED).stdout


def test_epochs_of_another_time(stopped, folder):
    """An epochs file from before the last elections is whole, and does not fit the history."""
    data = os.path.join(folder, "copy")
    shutil.copytree(stopped[1].data, data)
    with open(os.path.join(data, "znodefs", "epochs"), "wb") as epochs:
        epochs.write(stopped.first_epochs)
    found = items(data, expect=DAMAGED)
    assert one(found, "epochs")["state"] == "whole"
    assert "the files are of different times or members" in one(found, "damage")["text"]
