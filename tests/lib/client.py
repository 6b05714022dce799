"""A client that calls, and writes down what it called and what came of it: see lib/linearizable.py for the history.

    client.py FOLDER NAME JOURNAL BEGIN SLOT

Keys change every SLOT seconds since BEGIN (of CLOCK_MONOTONIC), the same for all clients, so that each key's history is
short and all of them meet at it. At SIGTERM it reads every key there was once more, and ends.
"""

import errno
import json
import mmap
import os
import random
import signal
import sys
import time

# Of calls that change something: it did not happen. Whatever else fails may have happened, or happen later.
NEVER = (errno.EROFS,)
PAUSE_S = 0.006
OLD_KEYS = 0.15  # so often a key of an earlier slot is read

stopping = False


def stop(_signum, _frame):
    global stopping
    stopping = True


def put(folder, name, flags, data):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | flags, 0o644, dir_fd=folder)
    try:
        assert os.write(fd, data) == len(data)
    except BaseException:
        try:
            os.close(fd)
        except OSError:
            pass  # the write's error is told already
        raise
    os.close(fd)


def direct_read(folder, name):
    """O_DIRECT: the newest contents. A file that is not there yet is an empty one: it is before it is written to."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECT, dir_fd=folder)
    except FileNotFoundError:
        return ""
    try:
        room = mmap.mmap(-1, 1 << 18)
        return room[:os.readv(fd, [room])].decode()
    finally:
        os.close(fd)


class Client:
    def __init__(self, folder, name, journal, begin, slot):
        self.folder, self.name, self.journal, self.begin, self.slot = folder, name, journal, begin, slot
        self.number = 0
        self.random = random.Random(name)

    def register(self, folder, name, op, arg):
        if op == "read":
            return direct_read(folder, name)
        put(folder, name, os.O_TRUNC, arg.encode())
        return "ok"

    def append(self, folder, name, op, arg):
        if op == "read":
            return direct_read(folder, name)
        put(folder, name, os.O_APPEND, arg.encode() + b"\n")
        return "ok"

    def compare(self, folder, name, op, arg):
        """A symlink is there with its contents at once, or is not."""
        try:
            if op == "create":
                os.symlink(arg, name, dir_fd=folder)
            elif op == "remove":
                os.unlink(name, dir_fd=folder)
            else:
                return os.readlink(name, dir_fd=folder)
        except FileExistsError:
            return "exists"
        except FileNotFoundError:
            return None if op == "read" else "absent"
        return "ok"

    def call(self, kind, slot, op):
        """Whether it succeeded. Names are looked up from an open folder: while its mount is away, the path leads to the
        folder below the mount."""
        self.number += 1
        key = f"{kind}-{slot}"
        arg = f"{self.name}.{self.number}" if op in ("write", "append", "create") else None
        begun = time.monotonic()
        folder, result, asked, ended = -1, None, False, None
        try:
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
            if kind == "compare" or op == "read":
                # Look-ups are answered from this mount's replica: from now on it has all that was committed before.
                os.fsync(folder)
            asked = True
            result = getattr(self, kind)(folder, key, op, arg)
            ended = time.monotonic()
        except OSError as error:
            asked = asked and error.errno not in NEVER
            time.sleep(0.05)  # a dead mount fails at once: no hurry
        finally:
            if folder >= 0:
                os.close(folder)
        if ended is not None or asked and op != "read":
            self.journal.write(json.dumps([self.name, kind, key, op, arg, result, begun, ended]) + "\n")
        return ended is not None

    def now(self):
        return int((time.monotonic() - self.begin) / self.slot)

    def go(self):
        kinds = {"register": ("write", "read"), "append": ("append", "read"), "compare": ("create", "remove", "read")}
        while not stopping:
            kind = self.random.choice(list(kinds))
            slot, op = self.now(), self.random.choice(kinds[kind])
            if slot > 0 and self.random.random() < OLD_KEYS:
                slot, op = self.random.randrange(slot), "read"
            self.call(kind, slot, op)
            time.sleep(self.random.random() * PAUSE_S)
        for slot in range(self.now() + 1):
            for kind in kinds:
                while not self.call(kind, slot, "read"):
                    pass


signal.signal(signal.SIGTERM, stop)
with open(sys.argv[3], "w", encoding="ascii", buffering=1) as out:
    Client(sys.argv[1], sys.argv[2], out, float(sys.argv[4]), float(sys.argv[5])).go()
