"""An ensemble whose peers talk through relays: see lib/relay.py."""

import os
import select
import subprocess
import sys

from .ensemble import ROOT, Ensemble, Failure, free_ports

ANSWER_S = 30


class Relayed(Ensemble):
    """The peer with the larger id dials, so each pair has one relay, in its configuration alone."""

    def __init__(self, directory, n=3, **more):
        self.relay = None
        self.relay_ports = {}
        self.begin(n)
        super().__init__(directory, n, **more)

    def begin(self, n):
        ports = free_ports(n)
        self.own = dict(enumerate(ports, 1))
        pairs = [(dialer, sid) for dialer in self.own for sid in self.own if dialer > sid]
        script = os.path.join(ROOT, "tests", "lib", "relay.py")
        self.relay = subprocess.Popen([sys.executable, script, *(f"{a}-{b}={self.own[b]}" for a, b in pairs)],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for line in self.relay.stdout:
            if line == "\n":
                break
            name, port = line.split()
            self.relay_ports[name] = int(port)

    def address(self, sid, by):
        port = self.relay_ports.get(f"{by}-{sid}", self.own[sid])
        return f"127.0.0.1:{port}"

    def set(self, a, b, *mode):
        """Of the connections between two servers."""
        self.relay.stdin.write(f"{max(a, b)}-{min(a, b)} {' '.join(map(str, mode))}\n")
        self.relay.stdin.flush()
        if not select.select([self.relay.stdout], [], [], ANSWER_S)[0] or self.relay.stdout.readline() != "ok\n":
            raise Failure("the relay does not answer")

    def isolate(self, sid, *mode):
        for other in self.own:
            if other != sid:
                self.set(sid, other, *mode)

    def stall_one_way(self, from_sid, to_sid):
        """Nothing that `from_sid` sends reaches `to_sid`."""
        self.set(from_sid, to_sid, "stall", "out" if from_sid > to_sid else "in")

    def heal(self):
        for sid in self.own:
            self.isolate(sid, "pass")

    def clean_up(self):
        wrong = super().clean_up()
        self.relay.kill()
        self.relay.wait(30)
        return wrong
