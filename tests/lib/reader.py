"""A reader that never rests: says which contents it has seen of a file.

    reader.py MOUNT

Each line on stdin is a path below MOUNT: the file is read over and over from then on. Each line on stdout answers the
next line of stdin with what was seen of the former path: a JSON list of the different contents in the order of their
first appearance, null for a file that was not there. A line may be empty: then nothing is read.
"""

import json
import os
import select
import sys


def contents(path):
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        parts = []
        while True:
            part = os.read(fd, 1 << 17)
            if not part:
                return b"".join(parts).decode("latin-1")
            parts.append(part)
    finally:
        os.close(fd)


def main(mount):
    path = None
    seen = []
    pending = b""
    while True:
        ready, _, _ = select.select([0], [], [], None if path is None else 0)
        if ready:
            more = os.read(0, 4096)
            if not more:
                return
            pending += more
            while b"\n" in pending:
                line, pending = pending.split(b"\n", 1)
                if path is not None:
                    seen.append(contents(path))  # once more: what is there now
                print(json.dumps([each for at, each in enumerate(seen) if each not in seen[:at]]), flush=True)
                path = os.path.join(mount, os.fsdecode(line)) if line else None
                seen = []
        if path is not None:
            now = contents(path)
            if not seen or now != seen[-1]:
                seen.append(now)


main(sys.argv[1])
