"""Refusals that this process remembers, so that who is refused and goes on asking costs Redis nothing.

A refusal holds until the moment at which its policy would admit again, for the cost that was refused and for greater
ones. The memory is bounded: the oldest go first, which costs a question to Redis and no more.
"""

import threading
import time
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

MOST = 20_000  # refusals; some 5 MiB

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(NamedTuple, Generic[V]):
    until: float  # monotonic seconds
    what: V


class Refusals(Generic[K, V]):
    """Thread-safe. What is remembered of whom is the caller's to say."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._refusals: dict[K, Remembered[V]] = {}

    def __len__(self) -> int:
        return len(self._refusals)

    def add(self, whom: K, what: V, until: float) -> None:
        with self._lock:
            self._refusals.pop(whom, None)
            self._refusals[whom] = Remembered(until, what)
            if len(self._refusals) > self._most:
                del self._refusals[next(iter(self._refusals))]

    def get(self, whom: K) -> Remembered[V] | None:
        """None when there is none, or when its time is over."""
        found = self._refusals.get(whom)
        if found is None or found.until > time.monotonic():
            return found
        self.forget(whom)
        return None

    def forget(self, whom: K) -> None:
        with self._lock:
            self._refusals.pop(whom, None)
