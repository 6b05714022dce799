"""Relays of TCP connections between peers that can delay, stall, lose and break: what networks do to TCP.

    relay.py NAME=PORT...

Listens on a port of 127.0.0.1 for each NAME, told as "NAME PORT" lines on stdout and an empty line, and connects to PORT
for each connection. Lines on stdin, each answered by a line:

    NAME pass            bytes go through
    NAME delay MS        each way takes so long
    NAME stall           nothing goes through, and everything comes once it passes again; new connections wait
    NAME stall out|in    the same of one direction: from who dials, or to who dials
    NAME lose            what is sent is gone: as bytes are never missing in the middle of a TCP stream, these connections
                         never carry anything again, and stay open at both ends (half-open)
    NAME close           connections are closed, and new ones refused by a close
    NAME cut             connections that there are are closed; new ones pass
"""

import asyncio
import sys
import threading

BUFFER = 65536


class Link:
    """One relayed connection."""

    def __init__(self, near, far):
        self.writers = (near, far)
        self.lost = False

    def close(self):
        for writer in self.writers:
            writer.close()


class Route:
    def __init__(self, to_port):
        self.to_port = to_port
        self.port = None
        self.mode = "pass"
        self.argument = ""
        self.changed = asyncio.Event()
        self.links = set()

    def set(self, mode, argument=""):
        if mode in ("close", "cut"):
            for link in list(self.links):
                link.close()
        if mode == "lose":
            for link in self.links:
                link.lost = True
        self.mode, self.argument = ("pass", "") if mode == "cut" else (mode, argument)
        self.changed.set()
        self.changed = asyncio.Event()

    def stalls(self, direction):
        return self.mode == "stall" and self.argument in ("", direction)

    async def pump(self, link, reader, writer, direction):
        while data := await reader.read(BUFFER):
            if self.mode == "delay":
                await asyncio.sleep(int(self.argument) / 1000)
            while self.stalls(direction):
                await self.changed.wait()
            if not link.lost:
                writer.write(data)
                await writer.drain()

    async def accept(self, near_reader, near):
        if self.mode == "close":
            near.close()
            return
        while self.stalls("") or self.mode == "lose":
            await self.changed.wait()
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.to_port)
        except OSError:
            near.close()
            return
        link = Link(near, far)
        self.links.add(link)
        pumps = [asyncio.create_task(self.pump(link, near_reader, far, "out")),
                 asyncio.create_task(self.pump(link, far_reader, near, "in"))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for each in pumps:
            each.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        self.links.discard(link)
        link.close()

    async def listen(self):
        server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server


async def serve(argv):
    routes = {}
    servers = []
    for each in argv:
        name, port = each.split("=")
        routes[name] = Route(int(port))
        servers.append(await routes[name].listen())
        print(name, routes[name].port)
    print(flush=True)
    loop = asyncio.get_running_loop()
    lines = asyncio.Queue()

    def read_lines():
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read_lines, daemon=True).start()
    while (line := await lines.get()) is not None:
        name, *rest = line.split()
        routes[name].set(*rest)
        print("ok", flush=True)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
