"""The one flusher: of all workers the one that holds the lock moves what waits to the database."""

import math
import time
from collections.abc import Callable
from datetime import timedelta

from django.utils import timezone

from intellicolab.cache.models import Fence, FlushedBatch
from intellicolab.redis.lock import Grant, Lock, LockLost, LockTimeout
from intellicolab.redis.sole import SoleService

from .buffer import Buffer, DeadEntry, registry

NAME = "write-behind"
LEASE = 15.0  # seconds until another worker takes over from one that was killed
BATCHES_KEPT = timedelta(days=7)  # far longer than any batch waits
PRUNE_SECONDS = 3600.0
ROUND_SECONDS = 4.0  # of one round: what is written faster than it can be flushed must not keep the others for ever

lock = Lock(NAME, lease=LEASE, wait=2.0, purpose="the write-behind flusher")
at_once = Lock(NAME, lease=LEASE, wait=0.0, purpose="manage.py drain")


class Flusher(SoleService):
    """Moves what waits, a round a second; at its stop everything that still waits."""

    title = "Write-behind: the flusher"

    def __init__(self) -> None:
        super().__init__(lock)
        self._prune_at = 0.0

    def round(self, grant: Grant) -> None:
        problem = flush_all(guard_of(grant), deadline=time.monotonic() + ROUND_SECONDS)
        if problem is not None:
            raise problem
        self._prune()

    def _prune(self) -> None:
        """Only after a round without a fault: nothing is left then that was applied and could not be removed."""
        if time.monotonic() < self._prune_at:
            return
        FlushedBatch.objects.filter(applied_at__lt=timezone.now() - BATCHES_KEPT).delete()
        self._prune_at = time.monotonic() + PRUNE_SECONDS


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
