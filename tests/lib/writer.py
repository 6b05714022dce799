"""A writer that keeps a journal of what was acknowledged.

    writer.py MOUNT NAME JOURNAL

Until SIGTERM: creates NAME/N with a line in it, and appends the same line to the file `shared`. Each call that returned
success is a line in JOURNAL ("file N" | "append N"), each that failed too ("failed N ERRNO"), and what it was is then
not known. Goes on after a failure as soon as the mount answers again.
"""

import errno
import os
import signal
import sys
import time

stopping = False


def stop(_signum, _frame):
    global stopping
    stopping = True


def put(path, flags, line):
    fd = os.open(path, flags, 0o644)
    try:
        assert os.write(fd, line) == len(line)
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)


def main(mount, name, journal):
    folder = os.path.join(mount, name)
    number = 0
    while not stopping:
        number += 1
        line = f"{name} {number}\n".encode()
        what = "file"
        try:
            if number == 1:
                os.mkdir(folder)
            put(os.path.join(folder, str(number)), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, line)
            journal.write(f"file {number}\n")
            what = "append"
            put(os.path.join(mount, "shared"), os.O_WRONLY | os.O_APPEND, line)
            journal.write(f"append {number}\n")
        except OSError as error:
            journal.write(f"failed {what} {number} {errno.errorcode.get(error.errno, error.errno)}\n")
            time.sleep(0.05)  # a dead mount fails at once: no hurry
    journal.write(f"end {number}\n")


signal.signal(signal.SIGTERM, stop)
with open(sys.argv[3], "w", encoding="ascii", buffering=1) as out:
    main(sys.argv[1], sys.argv[2], out)
