"""The way to Redis: through a circuit breaker, and never past an invalidation that is still owed."""

import time
from collections.abc import Sequence
from typing import Any

from redis.exceptions import RedisError

from intellicolab.redis.breaker import Breaker

from . import effects
from .effects import Calls, Fetch, Operation
from .owed import owed
from .statistics import Statistics

# For a server that hangs, not for one that refuses: that costs no time, and is found again at once.
SLOW = 0.1  # seconds
breaker = Breaker("Cache", "values are read from the database")


class Away(Exception):
    """Redis does not answer; the database has to."""


class Gateway:
    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics

    def ask(self, question: Fetch | Calls) -> Operation[list[Any]]:
        """One round trip. Raises Away."""
        if not breaker.ready():
            raise Away
        began = time.monotonic()
        try:
            if owed:
                yield from owed.settle()
            answers = yield question
        except (RedisError, OSError) as error:
            self.failed(error, time.monotonic() - began)
            raise Away from error
        breaker.succeeded()
        return answers

    def fetch(self, names: Sequence[str]) -> list[Any] | None:
        """The hot path: values by a plain call. None where the operation (`ask`) has to find out what the matter is."""
        if owed or not breaker.ready():
            return None
        began = time.monotonic()
        try:
            answers = effects.fetch(names)
        except (RedisError, OSError) as error:
            self._note(error, time.monotonic() - began)
            return None
        breaker.succeeded()
        return answers

    async def afetch(self, names: Sequence[str]) -> list[Any] | None:
        if owed or not breaker.ready():
            return None
        began = time.monotonic()
        try:
            answers = await effects.afetch(names)
        except (RedisError, OSError) as error:
            self._note(error, time.monotonic() - began)
            return None
        breaker.succeeded()
        return answers

    def _note(self, error: BaseException, took: float) -> None:
        """What cost no time is asked again, and counted then."""
        if took >= SLOW:
            self.failed(error, took)

    def failed(self, error: BaseException, took: float) -> None:
        """By its time, not its name: under asyncio redis-py calls a handshake that timed out a lost connection."""
        if took >= SLOW:
            breaker.failed(error)
        self._statistics.error()
