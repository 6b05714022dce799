"""What a million znodes cost: memory, disk, the pause while a snapshot is written, the time to start again."""

import glob
import mmap
import os
import shutil
import signal
import statistics
import subprocess
import time

from lib.ensemble import Ensemble, Failure, run, unmount, wait_until

ZNODES = 1000000
GENERATED_SNAP_COUNT = 100000  # the default
SNAP_COUNT = 5000  # so that few seconds of writing are enough
SNAPSHOTS_KEPT = 3  # the default
WRITERS = 4
READ_SECONDS = 3
DEADLINE = 120
MB = 1000000


def memory(pid):
    """In bytes: all that is resident, of that what the kernel shares with others (files), and the page tables."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as status:
        kb = {line.split(":")[0]: int(line.split()[1]) for line in status if line.endswith(" kB\n")}
    return 1024 * kb["VmRSS"], 1024 * (kb["RssFile"] + kb["RssShmem"]), 1024 * kb["VmPTE"]


def disk_bytes(folder):
    return sum(os.stat(path).st_blocks * 512 for path in glob.glob(os.path.join(folder, "*")))


def snapshots(peer):
    for line in peer.metrics().splitlines():
        if line.startswith("znodefs_snapshots_total "):
            return int(line.split()[1])
    raise Failure("no znodefs_snapshots_total in the metrics")


def settled(peer):
    """No snapshot is being written, and those that are not needed any more are gone."""
    files = glob.glob(os.path.join(peer.data, "znodefs", "snapshot.*"))
    return len(files) <= SNAPSHOTS_KEPT and not any(path.endswith(".tmp") for path in files)


def fork_ms(size):
    """How long fork(2) stops a process of that size that does nothing."""
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory_of_it:
        for at in range(0, size, mmap.PAGESIZE):
            memory_of_it[at] = 1
        times = []
        for _ in range(5):
            start = time.monotonic()
            child = os.fork()
            if child == 0:
                os._exit(0)
            times.append(1000 * (time.monotonic() - start))
            os.waitpid(child, 0)
    return statistics.median(times)


class Reader:
    """Random files of a mount, a thousand times a second."""

    def __init__(self, bench, peer):
        self.process = subprocess.Popen([os.path.join(bench.bin, "reader"), peer.path("grown"), str(ZNODES)],
                                        stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=30)
        if self.process.returncode != 0:
            raise Failure("the reader failed")
        return {key: float(value) for key, value in (pair.split("=") for pair in out.split())}


def grow(bench, ensemble):
    """Stops the ensemble, which is empty, and starts it with a million znodes; what an empty peer's memory was."""
    empty = max(memory(peer.process.pid)[0] for peer in ensemble)
    for peer in ensemble:
        peer.stop()
        shutil.rmtree(os.path.join(peer.data, "znodefs"))
    run(os.path.join(bench.bin, "grow"), str(ZNODES), str(GENERATED_SNAP_COUNT), *[peer.data for peer in ensemble],
        deadline=DEADLINE)
    disk = max(disk_bytes(os.path.join(peer.data, "znodefs")) for peer in ensemble)
    for peer in ensemble:
        peer.start(wait=False)
    for peer in ensemble:
        peer.wait_answering(DEADLINE)
    ensemble.wait_quorum()
    return empty, disk


def gaps(bench, peer):
    """The largest gap without and with a snapshot being written, both among writers on another mount."""
    def once(until):
        writers = [os.path.join(other.mount, f"writer-{i}") for i in range(WRITERS)]
        load = subprocess.Popen([os.path.join(bench.bin, "load"), "writers", str(DEADLINE), *writers],
                                stdout=subprocess.DEVNULL, start_new_session=True)
        reader = Reader(bench, peer)
        try:
            until()
            return reader.stop()["gap"]
        finally:
            os.killpg(load.pid, signal.SIGKILL)
            load.wait()

    other = next(each for each in peer.ensemble if each is not peer)
    wait_until(lambda: settled(peer), DEADLINE, "a snapshot to be done")
    quiet = once(lambda: time.sleep(READ_SECONDS))
    before = snapshots(peer)
    with_snapshot = once(lambda: wait_until(lambda: snapshots(peer) > before, DEADLINE, "a snapshot"))
    return quiet, with_snapshot


def restart(peer, cpu_us):
    """Seconds from the start after kill -9 to the first read of a znode; and those of CPU."""
    peer.kill9()
    unmount(peer.mount)
    start = time.monotonic()
    peer.start(wait=False)
    while run("cat", peer.path("grown/500/500"), check=False).returncode != 0:
        if time.monotonic() - start > DEADLINE:
            raise Failure("no read after the restart")
    taken = time.monotonic() - start, cpu_us(peer.process.pid) / 1e6
    peer.ensemble.wait_quorum(deadline=DEADLINE)
    return taken


def raw_read(peer):
    newest = max(glob.glob(os.path.join(peer.data, "znodefs", "snapshot.*")), key=os.path.getmtime)
    start = time.monotonic()
    run("dd", f"if={newest}", "of=/dev/null", "bs=1M", "status=none")
    return time.monotonic() - start


def tell_memory(bench, ensemble, empty):
    total, shared, tables = max(memory(peer.process.pid) for peer in ensemble)
    each = (total - empty) / ZNODES
    print(f"{ZNODES} znodes of 100 B: {total / MB:.0f} MB resident, an empty peer {empty / MB:.0f} MB; of the former "
          f"{shared / MB:.1f} MB are pages of files, shared; page tables {tables / MB:.1f} MB on top")
    bench.promise("memory of each", each, 400, "B")


def size(bench, cpu_us):
    ensemble = Ensemble(os.path.join(bench.folder, "grown"), 3, config={"tickTime": 2000, "snapCount": SNAP_COUNT})
    try:
        ensemble.start()
        empty, disk = grow(bench, ensemble)
        follower = ensemble.followers()[0]
        pairs = [gaps(bench, follower) for _ in range(3)]
        wait_until(lambda: all(settled(peer) for peer in ensemble), DEADLINE, "snapshots to be done")
        tell_memory(bench, ensemble, empty)
        disk = max([disk] + [disk_bytes(os.path.join(peer.data, "znodefs")) for peer in ensemble])
        bench.promise("disk, of snapshots and log with snapCount 100000, or now", disk / MB, 400, "MB")
        rss = memory(follower.process.pid)[0]
        print(f"1 kHz reader, largest gaps without a snapshot {[round(quiet, 1) for quiet, _ in pairs]} ms, during one "
              f"{[round(gap, 1) for _, gap in pairs]} ms; fork of an idle process of {rss / MB:.0f} MB {fork_ms(rss):.1f} ms")
        bench.promise("largest gap during a snapshot, median", statistics.median(gap for _, gap in pairs), 50, "ms")
        times = [restart(follower, cpu_us) for _ in range(3)]
        print(f"kill -9 and restart to the first read: {[round(wall, 2) for wall, _ in times]} s, of that CPU of the daemon "
              f"{[round(cpu, 2) for _, cpu in times]} s; reading the snapshot alone {raw_read(follower):.2f} s")
        bench.promise("first read, median", statistics.median(wall for wall, _ in times), 2, "s")
    finally:
        bench.wrong += ensemble.clean_up()
