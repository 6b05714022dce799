"""A reader that never rests: says which contents it has seen of a file.

    reader.py MOUNT CHUNK

Each line on stdin is a path below MOUNT: the file is read over and over from then on, CHUNK bytes a read(2). Each line
on stdout answers a line of stdin: a JSON list of what was seen of the former path: the different contents in the order
of their first appearance, null for a file that was not there, and the different sizes that stat(2) has told. It comes
when the new path has been read once. A line may be empty: then nothing is read.
"""

import json
import os
import select
import sys


def contents(path, chunk):
    """None: it is not there, or not any more."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        parts = []
        while True:
            part = os.read(fd, chunk)
            if not part:
                return b"".join(parts).decode("latin-1")
            parts.append(part)
    finally:
        os.close(fd)


class Seen:
    def __init__(self, path, chunk):
        self.path, self.chunk = path, chunk
        self.contents, self.sizes = {}, {}  # as ordered sets

    def look(self):
        if self.path is None:
            return
        try:
            self.sizes[os.stat(self.path).st_size] = None
        except FileNotFoundError:
            pass
        self.contents[contents(self.path, self.chunk)] = None

    def tell(self):
        self.look()  # once more: what is there now
        return json.dumps([list(self.contents), list(self.sizes)])


def main(mount, chunk):
    seen = Seen(None, chunk)
    pending = b""
    while True:
        ready, _, _ = select.select([0], [], [], None if seen.path is None else 0)
        if ready:
            more = os.read(0, 4096)
            if not more:
                return
            pending += more
            while b"\n" in pending:
                line, pending = pending.split(b"\n", 1)
                told = seen.tell()
                seen = Seen(os.path.join(mount, os.fsdecode(line)) if line else None, chunk)
                seen.look()
                print(told, flush=True)
        seen.look()


main(sys.argv[1], int(sys.argv[2]))
