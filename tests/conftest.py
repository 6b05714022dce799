"""Fixtures for tests on real mounts. ZNODEFS_BIN names another build's daemon."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lib import netns  # noqa: E402
from lib.ensemble import BINARY, Ensemble, unmount, wait_until  # noqa: E402
from lib.files import Held, Readers  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "root: needs root and /dev/fuse")
    config.addinivalue_line("markers", "netns: needs network namespaces")
    config.addinivalue_line("markers", "docker: needs a container engine")


def pytest_collection_modifyitems(items):
    missing = None
    if os.geteuid() != 0:
        missing = "not root"
    elif not os.path.exists("/dev/fuse"):
        missing = "no /dev/fuse"
    separated = [item for item in items if item.get_closest_marker("netns") is not None]
    no_namespaces = netns.missing() if separated and missing is None else None
    for item in separated if no_namespaces is not None else ():
        item.add_marker(pytest.mark.skip(reason=no_namespaces))
    for item in items:
        if missing is not None and item.get_closest_marker("root") is not None:
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.failed = outcome.get_result().failed


def mounts_below(folder):
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        return [line.split()[4] for line in mounts if line.split()[4].startswith(folder + "/")]


def processes_naming(folder):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
                if folder.encode() in cmdline.read() and int(pid) != os.getpid():
                    found.append(int(pid))
        except OSError:
            continue  # it has ended meanwhile
    return found


def state_of(pid):
    """For people: "pid name state", D being the one that nothing ends."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as status:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
        return f"{pid} {fields['Name']} {fields['State']}"
    except OSError:
        return f"{pid} ended"


@pytest.fixture(scope="session")
def session_dir():
    """All that the tests write lies below; nothing may be left of it, nor of what used it."""
    folder = tempfile.mkdtemp(prefix="znodefs-test-")
    yield folder
    mounts = mounts_below(folder)
    processes = processes_naming(folder)
    left = sorted(os.listdir(folder)) if not mounts else "?"
    for pid in processes:
        os.kill(pid, 9)
    for mount in mounts:
        unmount(mount)
    shutil.rmtree(folder, ignore_errors=True)
    assert not mounts, f"mounts left behind: {mounts}"
    assert not processes, f"processes left behind: {processes}"
    assert not left, f"files left behind: {left}"


@pytest.fixture
def folder(session_dir):
    """A folder for one test."""
    path = tempfile.mkdtemp(dir=session_dir)
    yield path
    for mount in mounts_below(path):
        unmount(mount)
    shutil.rmtree(path)


@pytest.fixture
def nobody_left(folder):
    """After the test and what took down its ensembles: nothing of it may run or be mounted, nor be stuck in the kernel."""
    yield
    mounts = mounts_below(folder)
    assert not mounts, f"mounts left behind: {mounts}"
    wait_until(lambda: not processes_naming(folder), 10,
               f"the test's processes to end: {[state_of(pid) for pid in processes_naming(folder)]}")


@pytest.fixture
def make_ensemble(request, folder):
    """Ensembles that are taken down after the test; one that ends badly, or logs something suspicious, fails it."""
    made = []

    def make(n=3, start=True, kind=Ensemble, **more):
        ensemble = kind(os.path.join(folder, f"e{len(made)}"), n, **more)
        made.append(ensemble)
        return ensemble.start() if start else ensemble

    yield make
    wrong = [line for ensemble in made for line in ensemble.clean_up()]
    if wrong or getattr(request.node, "failed", True):
        name = re.sub(r"[^\w.-]+", "_", request.node.name)
        for number, ensemble in enumerate(made):
            print(f"logs are kept in {ensemble.keep(f'{name}-{number}')}")
        print(f"to repeat: ZNODEFS_BIN={BINARY} {sys.executable} -m pytest {request.node.nodeid}")
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="module")
def shared(request, session_dir):
    """One ensemble for all tests of a module that leave it as they found it: up."""
    name = request.module.__name__
    failed_before = request.session.testsfailed
    ensemble = Ensemble(os.path.join(session_dir, name), 3)
    try:
        yield ensemble.start()
    finally:
        wrong = ensemble.clean_up()
        if wrong or request.session.testsfailed > failed_before:
            print(f"logs are kept in {ensemble.keep(name)}")
        shutil.rmtree(ensemble.dir)
        assert not wrong, "\n".join(wrong)


@pytest.fixture
def three(make_ensemble):
    return make_ensemble(3)


@pytest.fixture
def znodefs(folder):
    """Runs the daemon's command line to its end (it must not stay)."""

    def call(*argv, deadline=30):
        return subprocess.run([BINARY, *argv], cwd=folder, capture_output=True, text=True, timeout=deadline,
                              stdin=subprocess.DEVNULL, check=False)

    return call


@pytest.fixture
def held():
    """Processes that hold files open: see lib/files.py."""
    made = []

    def make(*before):
        made.append(Held(*before))
        return made[-1]

    yield make
    for each in made:
        each.kill()


@pytest.fixture(scope="module")
def readers(shared):
    """One on each mount of the module's ensemble."""
    readers = Readers(shared)
    yield readers
    readers.end()
