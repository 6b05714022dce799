"""An ensemble in which each peer has a network namespace, joined by a router in one more: there the wires are cut.

The namespaces live as long as a process that sleeps in them, so nothing has a name that could be left behind. A cut is
a rule of the router's that drops what comes from one wire for one address: as a firewall does that drops, each way by
itself, and without a word to anybody.
"""

import os
import subprocess

from .ensemble import BINARY, Ensemble, run

PORT = 2888
HOLD = "ip link set lo up && echo up && exec sleep 86400"


def missing():
    """Why there can be no namespaces here, or None."""
    try:
        made = subprocess.run(["unshare", "--net", "ip", "link", "set", "lo", "up"], capture_output=True, text=True,
                              timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no network namespaces: {error}"
    return f"no network namespaces: {made.stderr.strip()}" if made.returncode != 0 else None


class Namespace:
    def __init__(self, label):
        """`label` is seen in the list of processes, by who looks for what was left behind."""
        self.process = subprocess.Popen(["unshare", "--net", "sh", "-c", HOLD, label], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "up\n", "no namespace"
        self.enter = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net"]

    def run(self, *argv):
        return run(*self.enter, *argv)

    def end(self):
        self.process.kill()
        self.process.wait(30)
        self.process.stdout.close()


class Separated(Ensemble):
    """Give a keyFile in `config`, or insecure peers: their addresses are outside loopback."""

    def __init__(self, directory, n=3, **more):
        self.moved = {}  # server: the number in its address, if not its own
        self.cuts = set()
        self.namespaces = {}
        self.router = Namespace(directory)
        try:
            self.router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
            for sid in range(1, n + 1):
                self.namespaces[sid] = Namespace(directory)
                self.wire(sid)
        except BaseException:
            self.end_namespaces()
            raise
        super().__init__(directory, n, **more)
        for peer in self:
            peer.before = self.namespaces[peer.sid].enter

    def wire(self, sid):
        peer = self.namespaces[sid]
        self.router.run("ip", "link", "add", f"wire{sid}", "type", "veth", "peer", "name", "eth0", "netns",
                        str(peer.process.pid))
        self.router.run("ip", "link", "set", f"wire{sid}", "up")
        peer.run("ip", "link", "set", "eth0", "up")
        self.give_address(sid)

    def ip(self, sid, host=2):
        return f"10.77.{self.moved.get(sid, sid)}.{host}"

    def give_address(self, sid):
        self.router.run("ip", "address", "add", f"{self.ip(sid, 1)}/24", "dev", f"wire{sid}")
        self.namespaces[sid].run("ip", "address", "add", f"{self.ip(sid)}/24", "dev", "eth0")
        self.namespaces[sid].run("ip", "route", "add", "default", "via", self.ip(sid, 1))

    def move(self, sid, number):
        """To another network: what listened there no longer does."""
        self.namespaces[sid].run("ip", "address", "flush", "dev", "eth0")
        self.router.run("ip", "address", "flush", "dev", f"wire{sid}")
        self.moved[sid] = number
        self.give_address(sid)

    def address(self, sid, _by):
        return f"{self.ip(sid)}:{PORT}"

    def cut_one_way(self, from_sid, to_sid):
        """Nothing that `from_sid` sends reaches `to_sid`."""
        cut = ("iif", f"wire{from_sid}", "to", self.ip(to_sid))
        self.router.run("ip", "rule", "add", *cut, "blackhole")
        self.cuts.add(cut)

    def cut(self, a, b):
        self.cut_one_way(a, b)
        self.cut_one_way(b, a)

    def isolate(self, sid):
        for other in self.namespaces:
            if other != sid:
                self.cut(sid, other)

    def heal(self):
        for cut in self.cuts:
            self.router.run("ip", "rule", "delete", *cut, "blackhole")
        self.cuts.clear()

    def end_namespaces(self):
        for each in [*self.namespaces.values(), self.router]:
            each.end()

    def clean_up(self):
        wrong = super().clean_up()
        self.end_namespaces()
        return wrong


def genkey(directory):
    path = os.path.join(directory, "key")
    run(BINARY, "--genkey", path)
    return path
