"""Clients on every mount whose histories are checked: see lib/client.py and lib/linearizable.py."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

from . import linearizable
from .ensemble import ROOT, Failure, run, wait_until

PER_MOUNT = 2
SLOT_S = 0.5
PROGRESS = 10
FOLDER = "histories"


class Clients:
    """They call from the beginning of `with` until check(), or its end."""

    def __init__(self, ensemble, name):
        self.ensemble = ensemble
        self.name = name
        self.journals = {}
        self.processes = {}

    def __enter__(self):
        begin = time.monotonic()
        script = os.path.join(ROOT, "tests", "lib", "client.py")
        first = next(iter(self.ensemble))
        run("mkdir", first.path(FOLDER))
        self.ensemble.wait_equal()
        for peer in self.ensemble:
            for number in range(PER_MOUNT):
                name = f"{peer.sid}{'ab'[number]}"
                self.journals[name] = os.path.join(self.ensemble.dir, f"history-{name}")
                self.processes[name] = subprocess.Popen([sys.executable, script, peer.path(FOLDER), name, self.journals[name],
                                                         str(begin), str(SLOT_S)], stdin=subprocess.DEVNULL)
        try:
            self.wait_progress()
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait(30)

    def lines(self, name):
        try:
            with open(self.journals[name], encoding="ascii") as journal:
                return journal.read().splitlines()
        except FileNotFoundError:
            return []  # it has not begun yet

    def done(self):
        """How many calls of each have succeeded."""
        return {name: sum(json.loads(line)[-1] is not None for line in self.lines(name)) for name in self.journals}

    def wait_progress(self, among=None, deadline=60):
        """Until each client (of these peers) has had some more calls succeed."""
        before = self.done()
        names = [name for name in before if among is None or int(name[:-1]) in [peer.sid for peer in among]]

        def all_go_on():
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise AssertionError(f"client {name} ended with {process.returncode}")
            now = self.done()
            return all(now[name] >= before[name] + PROGRESS for name in names)

        wait_until(all_go_on, deadline, "every client to go on")

    def stop(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for name, process in self.processes.items():
            try:
                code = process.wait(120)
            except subprocess.TimeoutExpired as error:
                raise Failure(f"client {name} hangs") from error
            assert code == 0, f"client {name} ended with {code}"

    def keep(self, keys):
        """Where the histories of these keys are kept."""
        kept = os.path.join(ROOT, "build", "test-logs", f"history-{self.name}")
        shutil.rmtree(kept, ignore_errors=True)
        os.makedirs(kept)
        for path in self.journals.values():
            shutil.copy(path, kept)
        calls = {key: calls for (_, key), calls in linearizable.load(self.journals.values()).items()}
        for key in keys:
            with open(os.path.join(kept, key), "w", encoding="utf-8") as out:
                for call in sorted(calls[key], key=lambda each: each.call):
                    out.write(json.dumps(call) + "\n")
        return kept

    def check(self):
        """Ends them, with all peers up and a quorum, and judges what they saw; how many calls on how many keys."""
        self.stop()
        histories = linearizable.load(self.journals.values())
        wrong = linearizable.failures(histories)
        if wrong:
            raise Failure(f"{wrong}; the histories are kept in {self.keep(wrong)}")
        calls = sum(len(each) for each in histories.values())
        print(f"{calls} calls on {len(histories)} keys are linearizable, "
              f"{sum(call.ret is None for each in histories.values() for call in each)} of them in doubt")
        return calls
