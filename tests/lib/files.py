"""What tests of files share: processes that hold files open, readers that never rest, what a mount says of a file."""

import json
import os
import select
import subprocess
import sys
import time

from .ensemble import ROOT, Failure, run, shell, wait_until

SEEN_DEADLINE = 10
END_DEADLINE = 30
OLD = "old contents\n"


def python(code, *argv, deadline=30, check=True):
    """Runs Python code in a process of its own; `argv` is sys.argv[1:]."""
    return run(sys.executable, "-c", code, *argv, deadline=deadline, check=check)


def version(peer, name):
    return int(run("getfattr", "--only-values", "-n", "znode.version", peer.path(name)))


def catch_up(peer, name="."):
    """Whatever was committed before is seen here."""
    run("sync", peer.path(name))


def seen_everywhere(ensemble, script, expected):
    for peer in ensemble:
        wait_until(lambda: shell(f"cd {peer.mount} && {script}") == expected, SEEN_DEADLINE,
                   f"{script!r} to print {expected!r} at server {peer.sid}")


def spawn(*argv, **more):
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            **more)


def ended(process, deadline=20):
    """Its exit code and what it said; Failure if it hangs."""
    try:
        _, said = process.communicate(timeout=deadline)
    except subprocess.TimeoutExpired as error:
        raise Failure(f"{process.args} hangs") from error
    return process.returncode, said


class Held:
    """A process that runs Python code line by line as it is told: it holds what the lines open."""

    SERVE = ("import os, sys\n"
             "for line in sys.stdin:\n"
             "    try:\n"
             "        exec(line)\n"
             "        print('ok', flush=True)\n"
             "    except OSError as error:\n"
             "        print(error.errno, flush=True)\n")

    def __init__(self, *before):
        """`before`: a command that runs the one behind it, as env(1) does."""
        self.process = subprocess.Popen([*before, sys.executable, "-c", self.SERVE], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.pending = b""  # of answers not asked for yet

    def begin(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, deadline=60):
        end = time.monotonic() + deadline
        while b"\n" not in self.pending:
            if not select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0]:
                raise Failure(f"not answered after {deadline} s")
            more = os.read(self.process.stdout.fileno(), 4096)
            if not more:
                raise Failure("the process that holds the files has ended")
            self.pending += more
        line, self.pending = self.pending.split(b"\n", 1)
        return 0 if line == b"ok" else int(line)

    def answered(self):
        """Whether an answer has come, without waiting for it."""
        return b"\n" in self.pending or bool(select.select([self.process.stdout], [], [], 0)[0])

    def do(self, line):
        """The errno, 0 for success. The line prints nothing."""
        self.begin(line)
        return self.answer()

    def kill(self):
        self.process.kill()
        self.process.wait(END_DEADLINE)

    def end(self):
        self.process.stdin.close()
        self.process.wait(END_DEADLINE)


class Reader:
    """lib/reader.py on a mount."""

    def __init__(self, mount, chunk):
        script = os.path.join(ROOT, "tests", "lib", "reader.py")
        self.process = subprocess.Popen([sys.executable, script, mount, str(chunk)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def turn_to(self, path):
        """Reads `path` from now on; answer() tells what was seen of the one before."""
        self.process.stdin.write(path + "\n")
        self.process.stdin.flush()

    def answer(self):
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.kill()
        self.process.wait(END_DEADLINE)


class Readers:
    """One on each mount; they read in pieces of different sizes, which must make no difference."""

    CHUNKS = {1: 1 << 17, 2: 4096, 3: 1 << 20}

    def __init__(self, ensemble):
        self.ensemble = ensemble
        self.readers = {peer.sid: Reader(peer.mount, self.CHUNKS[peer.sid]) for peer in ensemble}

    def turn_to(self, name):
        """Returns once all have read it."""
        for reader in self.readers.values():
            reader.turn_to(name)
        for reader in self.readers.values():
            reader.answer()

    def seen(self):
        """What each server's reader has seen: contents in the order of their first appearance, and sizes. They rest
        from then on."""
        for reader in self.readers.values():
            reader.turn_to("")
        return {sid: reader.answer() for sid, reader in self.readers.items()}

    def end(self):
        for reader in self.readers.values():
            reader.end()
