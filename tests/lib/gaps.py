"""Reads a file a thousand times a second until a line comes on stdin; then how long the reads took, as JSON.

    gaps.py PATH
"""

import json
import os
import select
import sys
import time


def main(path):
    took = []
    print("reading", flush=True)
    due = time.monotonic()
    while not select.select([0], [], [], max(0, due - time.monotonic()))[0]:
        begun = time.monotonic()
        fd = os.open(path, os.O_RDONLY)
        os.read(fd, 4096)
        os.close(fd)
        took.append(1000 * (time.monotonic() - begun))
        due = max(due + 0.001, time.monotonic())
    took.sort()
    print(json.dumps({"n": len(took), "max_ms": took[-1], "p999_ms": took[len(took) * 999 // 1000]}))


main(sys.argv[1])
