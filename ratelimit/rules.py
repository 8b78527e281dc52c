"""What is limited and what was decided: the numbers of a rule, and of a decision on it."""

import math
import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

MICROSECONDS = 1_000_000
LONGEST_MS = 2**32 - 1  # a state holds four bytes of it
EXACT = 2**53  # the largest whole number up to which doubles, and so Lua, leave none out

_KIND, _COST, _NUMBERS = struct.Struct(">BB"), struct.Struct(">d"), struct.Struct(">dddd")
_ANSWER = struct.Struct(">?qqq")
DECISION_SIZE = _ANSWER.size


class Algorithm(IntEnum):
    """How a limit is counted; the numbers are those of decide.lua.

    - FIXED_WINDOW: `limit` in a window that begins with its first request. Cheapest to explain; twice the limit passes
      around the moment at which one window ends and the next begins.
    - SLIDING_WINDOW: the window before counts by the share of it that lies within the last window's length. Never more
      than an even flow of the limit, as an estimate of what a log of all requests would count.
    - TOKEN_BUCKET: `burst` at once, then as fast as the bucket fills: `limit` a window.
    - GCRA: one request each window / limit, and up to `burst` ahead of that pace (ITU-T I.371, annex A). It decides as
      a token bucket of the same burst does, with a smaller state; when a limit changes it keeps the time that a sender
      is ahead, where the bucket keeps the tokens.
    - CONCURRENCY: `limit` leases at the same time, each of which ends after `window` unless it is renewed.
    """

    FIXED_WINDOW = 1
    SLIDING_WINDOW = 2
    TOKEN_BUCKET = 3
    GCRA = 4
    CONCURRENCY = 5

    @property
    def label(self) -> str:
        """For people."""
        return _LABELS[self]


_LABELS = {
    Algorithm.FIXED_WINDOW: "Fixed window",
    Algorithm.SLIDING_WINDOW: "Sliding window",
    Algorithm.TOKEN_BUCKET: "Token bucket",
    Algorithm.GCRA: "GCRA (an even pace)",
    Algorithm.CONCURRENCY: "At the same time",
}


@dataclass(frozen=True)
class Rule:
    """A limit: `limit` requests in `window_ms` milliseconds. Two rules never share a key: `name` is part of it.

    `burst` is the size of a bucket, or how many GCRA admits at once; 0 stands for the algorithm's own: a full bucket
    of `limit`, and for GCRA 1. A `shadow` rule is counted and never refuses. Raises ValueError for numbers with which
    no exact decision is possible.
    """

    name: str
    limit: int
    window_ms: int = 60_000
    algorithm: Algorithm = Algorithm.FIXED_WINDOW
    burst: int = 0
    shadow: bool = False

    def __post_init__(self) -> None:
        if self.limit < 1 or self.window_ms < 1 or self.burst < 0:
            raise ValueError(f"{self.name}: limit and window must be at least 1, and a burst can't be negative")
        if self.window_ms > LONGEST_MS:
            raise ValueError(f"{self.name}: a window of {self.window_ms} ms is longer than a state can tell")
        parts = self.window_ms * 1000 if self.algorithm is Algorithm.SLIDING_WINDOW else _parts(self)[1]
        if self.capacity * parts > EXACT:
            raise ValueError(f"{self.name}: {self.capacity} in {self.window_ms} ms is more than can be counted exactly")

    @cached_property
    def state(self) -> str:
        """What names the rule's state: another algorithm begins with one of its own."""
        return f"{self.name}.{self.algorithm:d}"

    @property
    def capacity(self) -> int:
        """The most that is ever admitted at once."""
        if self.algorithm is Algorithm.TOKEN_BUCKET:
            return self.burst or self.limit
        if self.algorithm is Algorithm.GCRA:
            return self.burst or 1
        return self.limit

    @property
    def refills(self) -> bool:
        return self.algorithm in (Algorithm.TOKEN_BUCKET, Algorithm.GCRA)

    @cached_property
    def leases(self) -> bool:
        """Whether it is about what goes on at the same time."""
        return self.algorithm is Algorithm.CONCURRENCY

    def packed(self, cost: int) -> bytes:
        """As an argument of decide.lua."""
        before, after = self._around_cost
        return before + _COST.pack(cost) + after

    @cached_property
    def _around_cost(self) -> tuple[bytes, bytes]:
        numbers = (self.capacity, self.window_ms * 1000, *_parts(self))
        return _KIND.pack(self.algorithm, self.shadow), _NUMBERS.pack(*numbers)


def _parts(rule: Rule) -> tuple[int, int]:
    """The `rate` of parts a microsecond, of which `unit` make one request; (1, 1) where nothing is refilled."""
    if not rule.refills:
        return 1, 1
    window = rule.window_ms * 1000
    common = math.gcd(rule.limit, window)
    return rule.limit // common, window // common


class Decision(NamedTuple):
    """What one rule says: whether it admits, how many more it would, and times in microseconds.

    `wait` is the time until the cost would be admitted, or after a charge until one more request would; None for a cost
    that is above the limit. `reset` is the time until nothing counts any more.
    """

    admitted: bool
    remaining: int
    wait: int | None
    reset: int


def decisions(answer: bytes) -> list[Decision]:
    """What decide.lua returned, a decision a rule."""
    return [
        Decision(admitted, left, None if wait < 0 else wait, reset)
        for admitted, left, wait, reset in _ANSWER.iter_unpack(answer)
    ]
