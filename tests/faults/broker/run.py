"""One run: faults while facts and jobs are made; then quiet, until all of them are handled, have run, or are dead."""

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from intellicolab.redis.embedded import EmbeddedServer

from ...site import ROOT

SETTINGS = "intellicolab.settings"
WORKERS = 3
BETWEEN_SECONDS = (0.5, 2.5)
DOWN_SECONDS = 0.3


@dataclass(frozen=True)
class Report:
    """`problems` is empty when nothing was lost or doubled."""

    problems: list[str]
    made: int
    faults: Counter[str]

    def __str__(self) -> str:
        faults = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        return f"{self.made} transactions; faults: {faults}"


class Installation:
    """A server, workers and a load, each a process."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder = folder
        foreign = {"DATABASE_URL", "REDIS_URL", "REDIS_CACHE_URL"}
        kept = {name: value for name, value in os.environ.items() if name not in foreign}
        ours = {"VAR_DIR": str(folder), "SECRET_KEY": secrets.token_urlsafe(50), "DJANGO_SETTINGS_MODULE": SETTINGS}
        self._env = {**kept, **ours, "PYTHONPATH": str(ROOT), "LOG_LEVEL": "WARNING", "RATELIMIT": "off", **env}
        self.redis = EmbeddedServer(folder / "redis")
        self.log = folder / "log"
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self, module: str, pipe: bool = False) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"tests.faults.broker.{module}"]
        with self.log.open("ab") as log:
            given, told = (subprocess.PIPE, subprocess.PIPE) if pipe else (subprocess.DEVNULL, log)
            return subprocess.Popen(command, cwd=ROOT, env=self._env, stdin=given, stdout=told, stderr=log)

    def start_worker(self) -> None:
        self.workers.append(self.start("worker"))

    def kill_worker(self, at: int) -> None:
        worker = self.workers.pop(at)
        worker.kill()
        worker.wait()

    def end(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.wait(30)
        self.redis.stop()


@contextmanager
def installation(**env: str) -> Iterator[Installation]:
    with tempfile.TemporaryDirectory(prefix="ic-") as folder:
        running = Installation(Path(folder), **env)
        running.redis.start()
        try:
            yield running
        finally:
            running.end()


def run(seconds: float, seed: int, **env: str) -> Report:
    with installation(**env) as running:
        load = running.start("load", pipe=True)
        assert load.stdin
        assert load.stdout
        try:
            assert json.loads(load.stdout.readline() or "{}").get("ready"), running.log.read_text()[-3000:]
            for _ in range(WORKERS):
                running.start_worker()
            faults = torment(running, seconds, seed)
            load.stdin.write(b"stop\n")
            load.stdin.close()
            verdict = json.loads(load.stdout.readline() or "{}")
        finally:
            load.kill()
            load.wait()
            load.stdout.close()
        problems = verdict.get("problems", [f"The load has died: {running.log.read_text()[-3000:]}"])
        return Report(problems, verdict.get("made", 0), faults)


def torment(running: Installation, seconds: float, seed: int) -> Counter[str]:
    """One fault after another, drawn from the seed; all workers run again when it ends."""
    chance, done = random.Random(seed), Counter[str]()
    kinds = {
        "a worker killed": lambda: kill_one(running, chance),
        "all workers killed": lambda: kill_all(running),
        "Redis killed": lambda: kill_redis(running),
        "Redis paused": lambda: pause_redis(running),
        "a worker stopped": lambda: stop_one(running, chance),
    }
    order: list[str] = []
    deadline = time.monotonic() + seconds
    time.sleep(3)  # until the workers work
    while time.monotonic() < deadline or len(done) < len(kinds):
        order = order or chance.sample(list(kinds), len(kinds))
        kind = order.pop()
        kinds[kind]()
        done[kind] += 1
        time.sleep(chance.uniform(*BETWEEN_SECONDS))
    return done


def kill_one(running: Installation, chance: random.Random) -> None:
    """One of them is the relay, and one the scheduler."""
    running.kill_worker(chance.randrange(len(running.workers)))
    running.start_worker()


def kill_all(running: Installation) -> None:
    for _ in range(WORKERS):
        running.kill_worker(0)
    for _ in range(WORKERS):
        running.start_worker()


def stop_one(running: Installation, chance: random.Random) -> None:
    worker = running.workers.pop(chance.randrange(len(running.workers)))
    worker.terminate()
    assert worker.wait(20) in (0, -signal.SIGTERM), running.log.read_text()[-3000:]  # the latter while it starts
    running.start_worker()


def kill_redis(running: Installation) -> None:
    running.redis.kill()
    time.sleep(DOWN_SECONDS)
    running.redis.start()


def pause_redis(running: Installation) -> None:
    running.redis.pause()
    time.sleep(3.0)
    running.redis.resume()
