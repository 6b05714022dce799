"""Ensembles of real daemons on loopback, with real mounts, for tests.

Nothing here touches a mount from the test's own process: a daemon that hangs would hang the test. Files are read and
written by child processes with a deadline (`run`).
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.path.abspath(os.environ.get("ZNODEFS_BIN", os.path.join(ROOT, "build", "znodefs")))
SANITIZED = "address" in os.path.dirname(BINARY)

# A sanitizer's report ends the daemon with a code that no daemon returns by itself.
SANITIZER_EXIT = 99
ENVIRONMENT = dict(
    os.environ,
    ASAN_OPTIONS=f"exitcode={SANITIZER_EXIT}:abort_on_error=0",
    UBSAN_OPTIONS=f"exitcode={SANITIZER_EXIT}:print_stacktrace=1",
)
SUSPICIOUS = re.compile(r"Sanitizer|runtime error|[Aa]ssertion|panic|double free|corrupted|stack smashing")


class Failure(AssertionError):
    """A deadline that was missed, or a daemon that ended otherwise than asked."""


def wait_until(condition, deadline=30.0, what=None):
    """Calls `condition` until it returns something true, which is returned. It may raise OSError or Failure meanwhile."""
    end = time.monotonic() + deadline
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except (OSError, Failure) as error:
            last = error
        if time.monotonic() > end:
            raise Failure(f"waited {deadline} s for {what or condition}: last seen {last!r}")
        time.sleep(0.02)


def run(*argv, deadline=30.0, stdin=None, check=True, text=True):
    """Runs a command; its output. Failure when it misses the deadline or (check) fails."""
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=text)
    try:
        stdout, stderr = process.communicate(stdin, timeout=deadline)
    except subprocess.TimeoutExpired as error:
        process.kill()  # not waited for: a process that waits for a daemon that hangs can't be killed
        raise Failure(f"{argv}: not done after {deadline} s") from error
    done = subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)
    if check and done.returncode != 0:
        raise Failure(f"{argv}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout if check else done


def shell(script, deadline=30.0, check=True, shell_name="bash"):
    """Runs a shell script under a deadline."""
    return run(shell_name, "-c", script, deadline=deadline, check=check)


def free_ports(count):
    """Ports nobody listens on, held until all are drawn so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def is_mounted(path):
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        return any(line.split()[4] == path for line in mounts)


def unmount(path):
    """Takes away whatever is mounted at `path`, alive or not."""
    while is_mounted(path):
        if subprocess.run(["umount", "-l", path], capture_output=True, check=False).returncode != 0:
            run("fusermount3", "-u", "-z", path)


def parse_pairs(text):
    return dict(line.split("\t", 1) for line in text.splitlines())


def parse_table(text):
    lines = [line.split("\t") for line in text.splitlines()]
    return [dict(zip(lines[0], line)) for line in lines[1:]]


class Peer:
    """One server: its files, its process, its mount."""

    def __init__(self, ensemble, sid):
        self.ensemble = ensemble
        self.sid = sid
        self.mount = os.path.join(ensemble.dir, f"mount-{sid}")
        self.data = os.path.join(ensemble.dir, f"data-{sid}")
        self.cfg = os.path.join(ensemble.dir, f"zoo.cfg-{sid}")
        self.log = os.path.join(ensemble.dir, f"log-{sid}")
        self.process = None
        self.before = []  # a command that runs the one behind it, as env(1) does
        os.mkdir(self.mount)
        os.mkdir(self.data)
        with open(os.path.join(self.data, "myid"), "w", encoding="ascii") as myid:
            myid.write(f"{sid}\n")

    @property
    def source(self):
        return self.cfg if self.ensemble.n > 1 else "standalone"

    def command(self, *options):
        given = list(self.ensemble.options) + list(options)
        if self.source == "standalone":
            given.append(f"dataDir={self.data}")
        argv = [BINARY, "-f"]
        if given:
            argv += ["-o", ",".join(given)]
        return self.before + argv + [self.source, self.mount]

    def start(self, *options, wait=True):
        assert self.process is None, "it runs already"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(*options), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENVIRONMENT
            )
        if wait:
            self.wait_answering()

    def wait_answering(self, deadline=30.0):
        def answers():
            if self.process.poll() is not None:
                raise RuntimeError(f"server {self.sid} ended with {self.process.returncode}:\n{self.log_text()}")
            return is_mounted(self.mount) and self.status()

        wait_until(answers, deadline, f"server {self.sid} to answer")

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def path(self, name=""):
        return os.path.join(self.mount, name)

    def read(self, name, deadline=30.0):
        return run("cat", self.path(name), deadline=deadline)

    def write(self, name, contents, deadline=30.0):
        run("dd", f"of={self.path(name)}", "bs=1M", "status=none", stdin=contents, deadline=deadline)

    def status(self, deadline=10.0):
        return parse_pairs(self.read(".znodefs/status", deadline))

    def peers(self):
        return parse_table(self.read(".znodefs/peers"))

    def metrics(self):
        return self.read(".znodefs/metrics")

    def wait_ended(self, deadline=30.0):
        """The exit code, negative for a signal."""
        try:
            code = self.process.wait(deadline)
        except subprocess.TimeoutExpired as error:
            raise Failure(f"server {self.sid} still runs after {deadline} s") from error
        self.process = None
        return code

    def send(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM, expect=0):
        """Ends it as an operator does. The mount is gone afterwards."""
        self.send(number)
        code = self.wait_ended()
        if code != expect:
            raise Failure(f"server {self.sid} ended with {code}:\n{self.log_text()[-4000:]}")
        wait_until(lambda: not is_mounted(self.mount), 10, f"{self.mount} to go")

    def kill9(self):
        """As a crash does: the mount stays behind, dead."""
        self.send(signal.SIGKILL)
        self.wait_ended()

    def restart(self, *options, wait=True):
        if self.process is not None:
            self.stop()
        unmount(self.mount)
        self.start(*options, wait=wait)

    def clean_up(self):
        """Whatever state it is in. Returns what should not have been."""
        wrong = []
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                wrong.append(f"server {self.sid} did not end within 30 s of SIGTERM")
                self.process.kill()
                self.process.wait(10)
        if self.process is not None and self.process.returncode != 0:
            wrong.append(f"server {self.sid} ended with {self.process.returncode}")
        self.process = None
        unmount(self.mount)
        if os.path.exists(self.log):
            wrong += [f"log of server {self.sid}: {line}" for line in self.log_text().splitlines()
                      if SUSPICIOUS.search(line)]
        return wrong


class Observer(Peer):
    """A mount of an ensemble that no zoo.cfg lists: it knows hosts. It keeps nothing on disk unless `keep`."""

    def __init__(self, ensemble, name, subtree="", hosts=None, keep=False):
        # Not Peer's: there is no zoo.cfg and no myid.
        # pylint: disable=super-init-not-called
        self.ensemble = ensemble
        self.sid = name
        self.mount = os.path.join(ensemble.dir, f"mount-{name}")
        self.data = os.path.join(ensemble.dir, f"data-{name}") if keep else None
        self.cfg = os.path.join(ensemble.dir, f"no-zoo.cfg-{name}")
        self.log = os.path.join(ensemble.dir, f"log-{name}")
        self.process = None
        self.subtree = subtree
        self.hosts = hosts
        os.mkdir(self.mount)
        if keep:
            os.mkdir(self.data)

    @property
    def source(self):
        hosts = self.hosts or [f"127.0.0.1:{self.ensemble.ports[2 * sid - 2]}" for sid in self.ensemble.peers]
        return ",".join(hosts) + (f":{self.subtree}" if self.subtree else "")

    def command(self, *options):
        given = list(options) + ([f"dataDir={self.data}"] if self.data else [])
        return [BINARY, "-f"] + (["-o", ",".join(given)] if given else []) + [self.source, self.mount]

    def wait_state(self, state="observing", deadline=30.0):
        return wait_until(lambda: self.status().get("state") == state, deadline, f"observer {self.sid} to be {state}")


class Ensemble:
    """`n` servers on loopback ports of their own, in a folder of their own."""

    def __init__(self, directory, n=3, config=None, options=()):
        self.dir = directory
        self.n = n
        self.options = options
        self.config = config or {}
        os.makedirs(directory, exist_ok=True)
        self.peers = {sid: Peer(self, sid) for sid in range(1, n + 1)}
        self.ports = free_ports(2 * n)
        self.observers = []
        self.write_configs()

    def observer(self, name, *options, wait=True, **kwargs):
        """A started Observer, synchronized if `wait`."""
        observer = Observer(self, name, **kwargs)
        self.observers.append(observer)
        observer.start(*options, wait=wait)
        if wait:
            observer.wait_state()
        return observer

    def address(self, sid, _by):
        """Where the server `by` is to look for the server `sid`: host:port. Other kinds of ensembles say otherwise."""
        return f"127.0.0.1:{self.ports[2 * sid - 2]}"

    def write_configs(self):
        for peer in self.peers.values():
            servers = [f"server.{sid}={self.address(sid, peer.sid)}:{self.ports[2 * sid - 1]}" for sid in self.peers]
            lines = [f"dataDir={peer.data}"] + [f"{key}={value}" for key, value in self.config.items()] + servers
            with open(peer.cfg, "w", encoding="utf-8") as cfg:
                cfg.write("\n".join(lines) + "\n")

    def __getitem__(self, sid):
        return self.peers[sid]

    def __iter__(self):
        return iter(self.peers.values())

    def running(self):
        return [peer for peer in self if peer.process is not None and peer.process.poll() is None]

    def start(self):
        for peer in self:
            peer.start(wait=False)
        for peer in self:
            peer.wait_answering()
        self.wait_quorum()
        return self

    def wait_quorum(self, among=None, deadline=60.0):
        """Until all (that run) have a quorum with the same leader; its peer."""
        peers = among or self.running()

        def agreed():
            states = [peer.status() for peer in peers]
            leaders = {state["leader"] for state in states}
            if all(state["quorum"] == "yes" for state in states) and len(leaders) == 1:
                return self.peers.get(int(leaders.pop()))
            return None

        return wait_until(agreed, deadline, "a quorum with one leader")

    def leader(self):
        return self.wait_quorum()

    def followers(self):
        leader = self.leader()
        return [peer for peer in self.running() if peer is not leader]

    def wait_equal(self, deadline=60.0):
        """Until all have applied the same transactions."""
        everybody = self.running() + [each for each in self.observers if each.process is not None]

        def equal():
            states = [(state["zxid"], state["digest"]) for state in (peer.status() for peer in everybody)]
            return len(set(states)) == 1 and states[0]

        return wait_until(equal, deadline, "equal zxids and digests")

    def trees(self):
        """What each mount shows, in full; compare them."""
        script = os.path.join(ROOT, "tests", "lib", "show_tree.py")
        return {peer.sid: run(sys.executable, script, peer.mount, deadline=120) for peer in self.running()}

    def assert_same_trees(self):
        self.wait_equal()
        trees = self.trees()
        first = next(iter(trees))
        for sid, tree in trees.items():
            assert tree == trees[first], f"servers {first} and {sid} differ"
        return trees[first]

    def clean_up(self):
        wrong = []
        for peer in self.running():
            peer.send(signal.SIGCONT)  # whoever ends may wait for a quorum
        for peer in self.observers + list(self):
            wrong += peer.clean_up()
        return wrong

    def keep(self, name):
        """Copies logs and configurations to where they can be read after a failure; the folder."""
        kept = os.path.join(ROOT, "build", "test-logs", name)
        shutil.rmtree(kept, ignore_errors=True)
        os.makedirs(kept)
        for peer in list(self) + self.observers:
            for path in (peer.log, peer.cfg):
                if os.path.exists(path):
                    shutil.copy(path, kept)
        return kept
