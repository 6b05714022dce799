"""What each system call answers, case by case, beside ext4's answers; every difference is listed in differences.txt."""

import os
import re

import pytest
from lib.ensemble import BINARY, ROOT, SANITIZED, Failure, run

pytestmark = pytest.mark.root

PROGRAM = os.path.join(os.path.dirname(BINARY), "conformance")
LIST = os.path.join(ROOT, "tests", "conformance", "differences.txt")
USERS = {"root": 0, "user": 12345}
CASES_AT_LEAST = 1000
DEADLINE = 300
SHOWN = 40  # differences in the message of a failure


def cases(text):
    """{case: [step, ...]}"""
    lines = [line.split("\t") for line in text.splitlines()]
    found = {line[0]: line[1:] for line in lines}
    assert len(found) == len(lines), "two cases of one name"
    return found


def program(*argv):
    done = run(PROGRAM, *argv, deadline=DEADLINE, check=False, text=False)
    if done.returncode != 0:
        raise Failure(f"{argv}: exit {done.returncode}: {done.stderr.decode(errors='replace')}")
    return cases(done.stdout.decode(errors="surrogateescape"))


def differences(ext4, here):
    """{(case, step of ext4, step here)}, by the steps' places."""
    assert ext4.keys() == here.keys()
    return {(case, *pair) for case in ext4 for pair in pairs(case, ext4[case], here[case]) if pair[0] != pair[1]}


def pairs(case, ext4, here):
    assert len(ext4) == len(here), f"{case} has not the same steps:\n{ext4}\n{here}"
    return zip(ext4, here)


def listed():
    """What differences.txt says, and why: {(case, ext4, here): why}."""
    found = {}
    why = case = ext4 = None
    with open(LIST, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            if line.startswith("== "):
                why, case = line[3:], None
            elif line.startswith("    ext4  ") and case and not ext4:
                ext4 = line[10:]
            elif line.startswith("    here  ") and ext4:
                found[case, ext4, line[10:]] = why
                ext4 = None
            elif re.fullmatch(r"[\w.]+", line) and why and not ext4:
                case = line
            else:
                raise Failure(f"{LIST}:{number}: not understood: {line}")
    return found


def as_listed(found):
    """In the form of differences.txt."""
    lines = []
    for case, ext4, here in sorted(found)[:SHOWN]:
        lines += [case, f"    ext4  {ext4}", f"    here  {here}"]
    return "\n".join(lines + [f"({len(found)} in all)"])


def file_system(path):
    """The type of what `path` is on."""
    best = ("", "")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            before, after = line.split(" - ", 1)
            point = before.split()[4]
            if (path + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best[0]):
                best = (point, after.split()[0])
    return best[1]


@pytest.fixture(scope="module")
def ext4(session_dir):
    """A folder on ext4: the tests' own, if it is, or else one in a file."""
    folder = os.path.join(session_dir, "ext4")
    image = os.path.join(session_dir, "ext4.image")
    os.mkdir(folder)
    os.chmod(session_dir, 0o755)  # for other users
    made = file_system(folder) != "ext4"
    if made:
        run("truncate", "-s", "256M", image)
        run("mkfs.ext4", "-q", "-F", "-b", "4096", image)
        done = run("mount", "-o", "loop", image, folder, check=False)
        if done.returncode != 0:
            pytest.skip(f"NO EXT4 TO COMPARE WITH: {session_dir} is on {file_system(session_dir)}, and a file cannot "
                        f"be mounted: {done.stderr.strip()}")
    yield folder
    if made:
        run("umount", folder)
        os.unlink(image)
    run("rm", "-rf", folder, deadline=DEADLINE)


class Results:
    """What was printed, run once: by place ("ext4", "leader", "follower") and user."""

    def __init__(self, ext4, shared):
        peers = {"leader": shared.leader(), "follower": shared.followers()[0]}
        os.chmod(shared.dir, 0o755)
        self.peers = peers
        self.shared = shared
        self.tops = {"ext4": ext4, **{place: peer.mount for place, peer in peers.items()}}
        self.known = {}

    def folder(self, place, user, top=None):
        return os.path.join(top or self.tops[place], f"{place}-{user}")

    def of(self, place, user):
        if (place, user) not in self.known:
            folder = self.folder(place, user)
            run("mkdir", folder)
            argv = () if user == "root" else (str(USERS[user]),)
            self.known[place, user] = program("run", folder, *argv)
        return self.known[place, user]

    def tree(self, place, user, peer=None):
        """As `peer` shows it, the one it was run on by itself."""
        self.of(place, user)
        return program("tree", self.folder(place, user, peer and peer.mount))


@pytest.fixture(scope="module")
def results(ext4, shared):
    return Results(ext4, shared)


PLACES = [(place, user) for place in ("leader", "follower") for user in USERS]
if SANITIZED:
    PLACES = [("leader", "root"), ("follower", "user")]  # slower; what is compared is the same


@pytest.mark.parametrize("place,user", PLACES)
def test_as_ext4(results, place, user):
    assert len(results.of("ext4", "root")) >= CASES_AT_LEAST
    unlisted = differences(results.of("ext4", user), results.of(place, user)) - listed().keys()
    assert not unlisted, "neither as on ext4 nor listed:\n" + as_listed(unlisted)


@pytest.mark.skipif(SANITIZED, reason="what is listed is seen by the other build")
@pytest.mark.parametrize("place", ["leader", "follower"])
def test_what_is_listed_is_so(results, place):
    """A difference that is gone leaves the list."""
    found = set().union(*(differences(results.of("ext4", user), results.of(place, user)) for user in USERS))
    gone = listed().keys() - found
    assert not gone, f"listed in {LIST}, and not so:\n" + as_listed(gone)


@pytest.mark.parametrize("place,user", PLACES)
def test_what_was_left(results, place, user):
    """Another mount shows the same tree, and but for cases with a listed difference it is ext4's."""
    here = results.tree(place, user)
    results.shared.wait_equal()
    other = next(peer for peer in results.shared if peer not in results.peers.values())
    assert results.tree(place, user, other) == here, f"server {other.sid} shows another tree"
    expected = {case for case, _, _ in listed()}
    on_ext4 = results.tree("ext4", user)
    wrong = [f"{case}:\n  ext4  {on_ext4[case]}\n  here  {here[case]}" for case in here
             if case not in expected and here[case] != on_ext4[case]]
    assert here.keys() == on_ext4.keys()
    assert not wrong, "\n".join(wrong[:SHOWN])
