"""Which workers live: each says so every five seconds, and who falls silent is forgotten."""

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from redis.exceptions import RedisError

from . import codec, keys, scripts
from .client import Role, client

logger = logging.getLogger("intellicolab.redis")

BEAT_SECONDS = 5.0
MOST = 1000  # workers that are shown

_beat = scripts.load(Path(__file__).parent, "beat")


class Worker(msgspec.Struct, frozen=True):
    """A worker process. `runs` is what each part of it says that it works on, by the part's name."""

    host: str
    pid: int
    started: datetime
    runs: dict[str, Any]


_worker = codec.JSON[Worker](Worker)


class Heartbeat:
    """A service of `manage.py worker`: `Heartbeat(groups=lambda: ["push"])`.

    Each argument is asked at each beat, in a thread of its own, for what that part works on; it gives what JSON takes.
    """

    def __init__(self, **parts: Callable[[], Any]) -> None:
        self._id = uuid.uuid4().hex
        self._parts = parts
        self._started = datetime.now(UTC)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._is_told = False

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Nobody need wait for the key's end to know that it has gone."""
        self._stop.set()
        self._thread.join(BEAT_SECONDS)
        try:
            pipeline = client(Role.STATE).pipeline()
            pipeline.zrem(keys.worker_index(), self._id)
            pipeline.delete(keys.worker(self._id))
            pipeline.execute()
        except (RedisError, OSError) as error:
            logger.debug("This worker could not be taken from the list: %s", error)

    def beat(self) -> None:
        """Say it once. Raises RedisError, or what a part raises."""
        runs = {name: part() for name, part in self._parts.items()}
        worker = Worker(socket.gethostname(), os.getpid(), self._started, runs)
        args: list[scripts.Argument] = [self._id, round(1000 * keys.WORKER_TTL), _worker.encode(worker)]
        _beat(client(Role.STATE), [keys.worker_index(), keys.worker(self._id)], args)

    def _run(self) -> None:
        while True:
            try:
                self.beat()
                self._is_told = False
            except Exception as error:  # an outage, or a part's own fault; the thread must outlive both
                self._note(error)
            if self._stop.wait(BEAT_SECONDS):
                return

    def _note(self, error: Exception) -> None:
        if not self._is_told:
            known = isinstance(error, RedisError | OSError)
            logger.warning("This worker cannot say that it lives: %s", error, exc_info=not known)
        self._is_told = True


def workers() -> list[Worker]:
    """Those that live, by host and age. Two round trips. Raises RedisError."""
    state = client(Role.STATE)
    index: Any = state.zrange(keys.worker_index(), 0, MOST - 1)
    said: Any = state.mget([keys.worker(name.decode()) for name in index]) if index else []
    found = [_worker.decode(worker) for worker in said if worker is not None]
    return sorted(found, key=lambda worker: (worker.host, worker.started))
