"""A relay of TCP connections with a bound on how fast bytes go through, both ways together.

    trickle.py PORT

Listens on a port of 127.0.0.1, which is the first line on stdout, and connects to PORT for each connection. Each line on
stdin is the rate from then on, in bytes a second.
"""

import select
import socket
import sys
import time

SLICE_S = 0.01
BUFFER = 65536


def main(to_port):
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    rate = 1 << 30
    other = {}
    while True:
        begun = time.monotonic()
        ready, _, _ = select.select([listener, sys.stdin, *other], [], [], 1)
        budget = rate * SLICE_S
        for each in ready:
            if each is sys.stdin:
                line = sys.stdin.readline()
                if not line:
                    return
                rate = int(line)
            elif each is listener:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", to_port))
                other[near], other[far] = far, near
            elif each in other and budget > 0:
                try:
                    part = each.recv(max(1, min(BUFFER, int(budget))))
                    if not part:
                        raise OSError("closed")
                    other[each].sendall(part)
                    budget -= len(part)
                except OSError:
                    peer = other.pop(each)
                    other.pop(peer, None)
                    each.close()
                    peer.close()
        if ready:
            time.sleep(max(0, begun + SLICE_S - time.monotonic()) if budget < rate * SLICE_S else 0)


main(int(sys.argv[1]))
