"""The way to Redis: through a circuit breaker, and never past an invalidation that is still owed."""

import time
from typing import Any

from redis.exceptions import RedisError

from intellicolab.redis.breaker import Breaker

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

    def failed(self, error: BaseException, took: float) -> None:
        """By its time, not its name: under asyncio redis-py calls a handshake that timed out a lost connection."""
        if took >= SLOW:
            breaker.failed(error)
        self._statistics.error()
