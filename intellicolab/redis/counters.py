"""Counters that cost a request nothing: added up in process, flushed each second as one pipeline.

Each flush goes to the hashes of the minute (kept 24 hours) and of the hour (kept 90 days), and to the totals. What a
crash may lose is one second of statistics; a Redis outage loses no more, because nothing is sent to a server that does
not answer.
"""

import atexit
import itertools
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from redis.exceptions import RedisError

from . import keys
from .client import Role, client

logger = logging.getLogger("intellicolab.redis")

FLUSH_SECONDS = 1.0
MAX_FIELDS = 10_000  # distinct (family, field) pairs held while Redis is away; further ones are dropped


class Tally:
    """One counter for the hottest paths: `one()` takes no lock, because a step of `itertools.count` is atomic."""

    __slots__ = ("_count", "_taken", "one")

    def __init__(self) -> None:
        self._count = itertools.count()
        self.one = self._count.__next__
        self._taken = 0

    def take(self) -> int:
        """How often `one` was called since the last take; for one caller at a time."""
        calls = next(self._count) - self._taken
        self._taken += calls + 1  # this look was a step, too
        return calls


class Part(Protocol):
    """What is written with the counters, each second, by whoever adds up more than numbers."""

    @property
    def is_waiting(self) -> bool: ...

    def flush(self) -> None:
        """Raises RedisError, OSError; what it took to write is then lost."""

    def start_afresh(self) -> None:
        """In a forked child: what waits is the parent's to write, and locks may be held by threads that it lacks."""


class Counters:
    """A process's counters by family and field; `add` is safe from any thread."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._thread: threading.Thread | None = None
        self._start_empty()
        os.register_at_fork(after_in_child=self._start_afresh)

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._stop = threading.Event()

    def _start_afresh(self) -> None:
        """In a forked child: what was counted before is the parent's to write, whose thread the child has not."""
        self._start_empty()
        for tally in self._tallies.values():
            tally.take()
        for part in self._parts:
            part.start_afresh()
        if self._thread is not None:
            self._start()

    def add(self, family: str, field: str, amount: int = 1) -> None:
        with self._lock:
            if (family, field) in self._counts or len(self._counts) < MAX_FIELDS:
                self._counts[family, field] += amount
            if self._thread is None:
                self._start()

    def tally(self, family: str, field: str) -> Tally:
        """The process's one tally of a field; made once, by who counts where even `add` would be felt."""
        with self._lock:
            if self._thread is None:
                self._start()
            return self._tallies.setdefault((family, field), Tally())

    def join(self, part: Part) -> None:
        """Have it flushed with the counters from now on. Counting something starts the thread that does."""
        self._parts.append(part)

    def flush(self) -> None:
        """Write what was counted since the last flush. Kept for the next one if no server was there to take it.

        What timed out may have been counted, and is not sent again: statistics rather lose a second than double it.
        """
        with self._flushing:  # who flushes may read the result at once, also when the thread was just at it
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            counts, self._counts = self._counts, Counter()
            counts.update({name: calls for name, tally in self._tallies.items() if (calls := tally.take())})
        parts = [part for part in self._parts if part.is_waiting]
        if not counts and not parts:
            return
        try:
            client(Role.STATE).ping()
        except (RedisError, OSError):  # the link logs the outage, once
            with self._lock:
                self._counts.update(counts)
            return
        writes: list[Callable[[], None]] = [partial(self._write, counts), *(part.flush for part in parts)]
        for write in writes:
            try:
                write()
            except (RedisError, OSError):
                pass  # the link logs the outage, once
            except Exception:  # of a part's: the others' counts must not end with it
                logger.exception("Something that was counted could not be written")

    def stop(self) -> None:
        """Flush for the last time and end the thread."""
        self._stop.set()
        self.flush()

    def _start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="counters", daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_SECONDS):
            self.flush()

    @staticmethod
    def _write(counts: Counter[tuple[str, str]]) -> None:
        now = int(time.time())
        pipeline = client(Role.STATE).pipeline(transaction=False)
        for family in {family for family, _ in counts}:
            fields = {field: amount for (of, field), amount in counts.items() if of == family}
            _count_in(pipeline, fields, keys.counters_minute(family, now // 60), keys.COUNTERS_MINUTE_TTL)
            _count_in(pipeline, fields, keys.counters_hour(family, now // 3600), keys.COUNTERS_HOUR_TTL)
            _count_in(pipeline, fields, keys.counters_total(family), keys.COUNTERS_TOTAL_TTL)
        pipeline.execute(raise_on_error=False)


def _count_in(pipeline: Any, fields: dict[str, int], name: str, ttl: int | None) -> None:
    for field, amount in fields.items():
        pipeline.hincrby(name, field, amount)
    if ttl is not None:
        pipeline.expire(name, ttl)


counters = Counters()


def totals(family: str) -> dict[str, int]:
    """Counts by field since the installation began. Raises RedisError when Redis does not answer."""
    return _numbers(client(Role.STATE).hgetall(keys.counters_total(family)))


def minute(family: str, minute: int) -> dict[str, int]:
    """Counts by field in one minute (Unix time // 60) of the last 24 hours."""
    return _numbers(client(Role.STATE).hgetall(keys.counters_minute(family, minute)))


def hour(family: str, hour: int) -> dict[str, int]:
    """Counts by field in one hour (Unix time // 3600) of the last 90 days."""
    return _numbers(client(Role.STATE).hgetall(keys.counters_hour(family, hour)))


def _numbers(fields: dict) -> dict[str, int]:
    return {name.decode(): int(value) for name, value in fields.items()}
