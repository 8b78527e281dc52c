"""What each algorithm promises, said plainly and in exact fractions.

The preview of a policy replays an hour's traffic with these, and the tests hold the limiter's script against them.
They know nothing of keys, packing or expiry. `ahead` says whether the clock was set back: only then, and by a charge,
is what a model settles written down. Times are microseconds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from .rules import Algorithm, Rule


@dataclass
class Fixed:
    start: int | None = None
    used: int = 0

    def ahead(self, rule: Rule, now: int) -> bool:
        return self.start is not None and self.start > now

    def change(self, before: Rule, after: Rule) -> None:
        pass

    def settle(self, rule: Rule, now: int) -> None:
        if self.start is not None:
            self.start = min(self.start, now)
        if self.start is None or now >= self.start + rule.window_ms * 1000:
            self.start, self.used = None, 0

    def admits(self, rule: Rule, cost: int, now: int) -> bool:
        self.settle(rule, now)
        return self.used + cost <= rule.limit

    def take(self, rule: Rule, cost: int, now: int) -> None:
        if self.start is None:
            self.start = now
        self.used += cost

    def left(self, rule: Rule, now: int) -> int:
        return max(0, rule.limit - self.used)


@dataclass
class Sliding:
    start: int = 0
    used: int = 0
    before: int = 0

    def ahead(self, rule: Rule, now: int) -> bool:
        return self.start > now // (rule.window_ms * 1000) * rule.window_ms * 1000

    def change(self, before: Rule, after: Rule) -> None:
        pass

    def settle(self, rule: Rule, now: int) -> None:
        window = rule.window_ms * 1000
        start = now // window * window
        if start - self.start > window:
            self.used, self.before = 0, 0
        elif start > self.start:
            self.used, self.before = 0, self.used
        self.start = start

    def weight(self, rule: Rule, now: int) -> Fraction:
        window = rule.window_ms * 1000
        return self.used + Fraction(self.before * (window - (now - self.start)), window)

    def admits(self, rule: Rule, cost: int, now: int) -> bool:
        self.settle(rule, now)
        return self.weight(rule, now) + cost <= rule.limit

    def take(self, rule: Rule, cost: int, now: int) -> None:
        self.used += cost

    def left(self, rule: Rule, now: int) -> int:
        return max(0, math.floor(rule.limit - self.weight(rule, now)))


def pace(rule: Rule) -> Fraction:
    """Requests a microsecond."""
    return Fraction(rule.limit, rule.window_ms * 1000)


@dataclass
class Bucket:
    tokens: Fraction | None = None  # None: full
    at: int = 0
    unit: int = 1

    def ahead(self, rule: Rule, now: int) -> bool:
        return self.tokens is not None and self.at > now

    def change(self, before: Rule, after: Rule) -> None:
        pass

    def settle(self, rule: Rule, now: int) -> None:
        unit = pace(rule).denominator
        if self.tokens is not None:
            if unit != self.unit:  # the level is a whole number of the parts that a microsecond refills
                self.tokens = Fraction(math.floor(self.tokens * unit), unit)
            self.tokens = min(Fraction(rule.capacity), self.tokens + max(0, now - self.at) * pace(rule))
        self.at, self.unit = now, unit

    def admits(self, rule: Rule, cost: int, now: int) -> bool:
        self.settle(rule, now)
        return (rule.capacity if self.tokens is None else self.tokens) >= cost

    def take(self, rule: Rule, cost: int, now: int) -> None:
        self.tokens = (Fraction(rule.capacity) if self.tokens is None else self.tokens) - cost

    def left(self, rule: Rule, now: int) -> int:
        return rule.capacity if self.tokens is None else math.floor(self.tokens)


@dataclass
class Arrivals:
    """GCRA: the theoretical arrival time, at which nothing is used any more."""

    arrival: Fraction = field(default_factory=Fraction)

    def ahead(self, rule: Rule, now: int) -> bool:
        return self.arrival > now + rule.capacity / pace(rule)

    def change(self, before: Rule, after: Rule) -> None:
        """Fractions of a microsecond are those of one rate."""
        if pace(before).numerator != pace(after).numerator:
            self.arrival = Fraction(math.ceil(self.arrival))

    def settle(self, rule: Rule, now: int) -> None:
        self.arrival = max(Fraction(now), min(self.arrival, now + rule.capacity / pace(rule)))

    def admits(self, rule: Rule, cost: int, now: int) -> bool:
        self.settle(rule, now)
        return self.arrival + cost / pace(rule) - now <= rule.capacity / pace(rule)

    def take(self, rule: Rule, cost: int, now: int) -> None:
        self.arrival += cost / pace(rule)

    def left(self, rule: Rule, now: int) -> int:
        return math.floor(rule.capacity - (self.arrival - now) * pace(rule))


MODELS: dict[Algorithm, Callable[[], Any]] = {
    Algorithm.FIXED_WINDOW: Fixed,
    Algorithm.SLIDING_WINDOW: Sliding,
    Algorithm.TOKEN_BUCKET: Bucket,
    Algorithm.GCRA: Arrivals,
}
