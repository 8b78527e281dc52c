"""From the committer's thread back to the loop of the sockets: one wake-up for a whole batch of commits."""

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

logger = logging.getLogger("realtime")

Answer = Callable[[Future[Any]], None]
Wake = Callable[[Callable[[], None]], object]


class Answers:
    """Use `Answers.here()`: those of the running loop.

    `asyncio.wrap_future` wakes the loop for each future, with a write to a pipe, and takes three turns of it. A batch
    holds up to hundreds of futures, done within a moment.
    """

    _all: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Answers]" = weakref.WeakKeyDictionary()

    def __init__(self) -> None:
        self._done: deque[tuple[Answer, Future[Any]]] = deque()
        self._woken = False

    @classmethod
    def here(cls) -> "Answers":
        loop = asyncio.get_running_loop()
        if loop not in cls._all:
            cls._all[loop] = cls()
        return cls._all[loop]

    def expect(self, future: "Future[Any]", answer: Answer) -> None:
        """Have `answer(future)` called in this loop once the future is done, in the order in which they are done."""
        wake = asyncio.get_running_loop().call_soon_threadsafe
        future.add_done_callback(partial(self._hand_over, wake, answer))

    def _hand_over(self, wake: Wake, answer: Answer, future: "Future[Any]") -> None:
        self._done.append((answer, future))
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the loop is closed, and with it the sockets that waited
                wake(self._give)

    def _give(self) -> None:
        self._woken = False  # before the look: what is done after it wakes the loop again
        while self._done:
            answer, future = self._done.popleft()
            try:
                answer(future)
            except Exception:  # the others of the batch must get theirs
                logger.exception("A message could not be answered")
