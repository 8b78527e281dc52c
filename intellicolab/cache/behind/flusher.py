"""The one flusher: of all workers the one that holds the lock moves what waits to the database."""

import logging
import math
import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from django.db import DatabaseError, close_old_connections, connections
from django.utils import timezone
from redis.exceptions import RedisError

from intellicolab.cache.models import Fence, FlushedBatch
from intellicolab.redis.fence import StaleFence
from intellicolab.redis.lock import Grant, Lock, LockError, LockLost, LockTimeout

from .buffer import Buffer, DeadEntry, registry

logger = logging.getLogger("intellicolab.cache")

NAME = "write-behind"
LEASE = 15.0  # seconds until another worker takes over from one that was killed
INTERVAL = 1.0  # seconds between two rounds: how long a write stays in Redis only
LONGEST_PAUSE = 30.0  # seconds, after errors
BATCHES_KEPT = timedelta(days=7)  # far longer than any batch waits
PRUNE_SECONDS = 3600.0
ROUND_SECONDS = 4.0  # of one round: what is written faster than it can be flushed must not keep the others for ever
STOP_SECONDS = 10.0  # for the round that runs and the last one; `serve` grants 15

lock = Lock(NAME, lease=LEASE, wait=2.0, purpose="the write-behind flusher")
at_once = Lock(NAME, lease=LEASE, wait=0.0, purpose="manage.py drain")


class Flusher:
    """A service of `manage.py worker`. `start` and `stop` it; `stop` writes what still waits."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failures = 0
        self._prune_at = 0.0

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it after a last round. Raises nothing; what is left waits in Redis for the next worker."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._attempt()
        connections.close_all()

    def _attempt(self) -> None:
        try:
            with lock as grant:
                self._serve(grant)
        except LockTimeout:
            return  # another worker does it
        except Exception as error:  # the service must outlive any fault: an outage, or a declaration's own code
            self._note_failure(error)

    def _serve(self, grant: Grant) -> None:
        """Rounds until it is told to stop, and one after that. Raises LockLost and StaleFence."""
        while True:
            stopping = self._stop.is_set()
            try:
                self._round(grant)
            except (LockLost, StaleFence):
                raise
            except Exception as error:  # see `_attempt`; the lock is kept, because nobody else would do better
                self._note_failure(error)
            if stopping:
                return
            self._stop.wait(INTERVAL)

    def _round(self, grant: Grant) -> None:
        close_old_connections()
        grant.check()
        problem = flush_all(guard_of(grant), deadline=time.monotonic() + ROUND_SECONDS)
        if problem is not None:
            raise problem
        self._prune()
        if self._failures:
            logger.info("Write-behind: the flusher works again")
        self._failures = 0

    def _prune(self) -> None:
        """Only after a round without a fault: nothing is left then that was applied and could not be removed."""
        if time.monotonic() < self._prune_at:
            return
        FlushedBatch.objects.filter(applied_at__lt=timezone.now() - BATCHES_KEPT).delete()
        self._prune_at = time.monotonic() + PRUNE_SECONDS

    def _note_failure(self, error: Exception) -> None:
        if not self._failures:
            known = isinstance(error, LockError | StaleFence | DatabaseError | RedisError | OSError)
            logger.error("Write-behind: the flusher cannot work and tries again: %s", error, exc_info=not known)
        self._failures += 1
        pause = min(2.0**self._failures / 2, LONGEST_PAUSE)
        self._stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311  jitter, not a secret


def guard_of(grant: Grant) -> Callable[[], None]:
    """What each transaction of a flush does first."""

    def guard() -> None:
        grant.check()
        Fence.advance(NAME, grant.fence)

    return guard


def flush_all(guard: Callable[[], None], force: bool = False, deadline: float = math.inf) -> Exception | None:
    """Flush a batch of each buffer in turn until nothing is due, or until `deadline` (monotonic seconds).

    A buffer that fails does not keep the others; returns the last error.
    """
    problem: Exception | None = None
    turn = list(registry.values())
    while turn:
        more = []
        for buffer in turn:
            try:
                if buffer.flush(guard, force):
                    more.append(buffer)
            except Exception as error:  # told to the caller when the other buffers have had their turn
                problem = error
        turn = more if time.monotonic() < deadline else []
    return problem


def waiting() -> list[Buffer]:
    """The buffers that are not empty. Raises RedisError."""
    return [buffer for buffer in registry.values() if buffer.entries()[0]]


def drain(seconds: float) -> list[str]:
    """Write all that waits, within `seconds`: ourselves, or, while a worker holds the lock, by waiting for it.

    Returns what could not be written, a line each, also when the database is away. Raises RedisError or
    LockUnavailable without Redis.
    """
    deadline = time.monotonic() + seconds
    problem: Exception | None = None
    while waiting() and time.monotonic() < deadline:
        try:
            with at_once as grant:
                problem = flush_all(guard_of(grant), True, deadline)
        except (LockTimeout, LockLost):  # another does it
            problem = None
        time.sleep(0.2)
    return [*_left(problem), *_dead()]


def _left(problem: Exception | None) -> list[str]:
    reason = f": {problem}" if problem else ""
    return [f"{buffer.namespace}: {buffer.entries()[0]} entries still wait{reason}" for buffer in waiting()]


def _dead() -> list[str]:
    return [_refused(buffer, entry) for buffer in registry.values() for entry in buffer.dead()]


def take_dead() -> list[str]:
    """What the database refused for good, a line each; it is dropped. Raises RedisError."""
    return [_refused(buffer, entry) for buffer in registry.values() for entry in buffer.take_dead()]


def _refused(buffer: Buffer, entry: DeadEntry) -> str:
    return f"{buffer.namespace}: {entry.key} = {entry.value} was refused: {entry.reason}"
