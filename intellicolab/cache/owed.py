"""Invalidations that an outage prevented. They are made up for before this process reads the cache again."""

import atexit
import logging
import os
import threading
from collections.abc import Iterable
from contextlib import suppress

from redis.exceptions import RedisError

from intellicolab.redis import keys
from intellicolab.redis.scripts import Run

from .effects import Calls, Operation, drive
from .scripts import forget, stamp

logger = logging.getLogger("intellicolab.cache")

MAX_OWED = 100_000  # names; beyond them the values' time to live has to do
RETRY_SECONDS = 0.5
BATCH = 1000  # calls of one round trip: all of them at once could take longer than an answer may


def forgetting(value: str) -> Run:
    return Run(forget, [value, keys.flight(value), keys.wake(value)], [keys.CACHE_WAKE_TTL])


def restamping(tag: str) -> Run:
    return Run(stamp, [keys.tag(tag)], [keys.CACHE_TAG_TTL, 1])


class Owed:
    """Names of values and tags still to be invalidated. A thread tries again until nothing is owed.

    Other processes may have a link to Redis while this one has none, so it cannot wait for this one's next read.
    """

    def __init__(self) -> None:
        self._calls: dict[tuple[str, ...], Run] = {}
        self._unlock()
        os.register_at_fork(after_in_child=self._unlock)

    def _unlock(self) -> None:
        """A forked child owes what its parent does, and has neither its thread nor who holds its lock."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, calls: Iterable[Run]) -> None:
        with self._lock:
            for call in calls:
                if len(self._calls) < MAX_OWED:
                    self._calls[tuple(call.keys)] = call
            if self._calls and self._thread is None:
                self._thread = threading.Thread(target=self._retry, name="cache-owed", daemon=True)
                self._thread.start()

    def settle(self) -> Operation[None]:
        """Raises RedisError or OSError, and then still owes. Doing one twice does no harm."""
        with self._lock:
            owed = list(self._calls.items())
        for start in range(0, len(owed), BATCH):
            batch = owed[start : start + BATCH]
            yield Calls([call for _, call in batch])
            with self._lock:
                for name, call in batch:
                    if self._calls.get(name) is call:  # else it came to be owed again meanwhile
                        del self._calls[name]

    def close(self) -> None:
        """A last try, at the end of the process."""
        with suppress(RedisError, OSError):
            drive(self.settle())
        if self:
            logger.error(
                "%d invalidations could not be made; old values live till their time is over", len(self._calls)
            )

    def _retry(self) -> None:
        pause = threading.Event()
        while self._goes_on():
            pause.wait(RETRY_SECONDS)
            with suppress(RedisError, OSError):  # the link logs the outage, once
                drive(self.settle())

    def _goes_on(self) -> bool:
        """Under the lock: whoever adds something now either is seen here, or sees that the thread has ended."""
        with self._lock:
            if not self._calls:
                self._thread = None
            return bool(self._calls)


owed = Owed()
atexit.register(owed.close)
