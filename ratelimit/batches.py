"""Limiter calls of one turn of an event loop, sent to Redis together.

On a busy server hundreds of sockets ask in the same turn; a round trip for each would take longer than all that the
answers are for. While one batch is on its way the next one is gathered, so answers come in the order of the questions.
"""

import asyncio
import logging
import weakref
from collections.abc import Sequence

from .limiter import Charge, Question, Verdict, limiter

logger = logging.getLogger("ratelimit")

MOST = 500  # questions that are sent at once, so that the last of them is answered within the time-out


class Batches:
    """Those of one event loop. One connection is enough for it, whatever number of sockets ask."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Question, asyncio.Future[Verdict | None]]] = []
        self._sending: asyncio.Task[None] | None = None
        self._alone = False  # whether one question is on its way by itself

    @classmethod
    def here(cls) -> "Batches":
        """The running loop's."""
        loop = asyncio.get_running_loop()
        found = _of_loop.get(loop)
        if found is None:
            found = _of_loop[loop] = cls()
        return found

    def hit(self, charges: Sequence[Charge]) -> "asyncio.Future[Verdict | None]":
        """As `Limiter.hit`; a caller that gives up takes nothing back."""
        return self._ask(Question("hit", charges))

    async def ahit(self, charges: Sequence[Charge]) -> Verdict | None:
        """As `hit`, of no known order: sent at once while nothing else is on its way, since a turn costs time, too."""
        if self._alone or self._sending is not None:
            return await self.hit(charges)
        self._alone = True
        try:
            return await limiter.ask(Question("hit", charges))
        finally:
            self._alone = False

    def refund(self, charges: Sequence[Charge]) -> "asyncio.Future[Verdict | None]":
        """As `Limiter.refund`."""
        return self._ask(Question("refund", charges))

    def _ask(self, question: Question) -> "asyncio.Future[Verdict | None]":
        answer: asyncio.Future[Verdict | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._sending is None:
            self._sending = asyncio.ensure_future(self._send())
        return answer

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                verdicts = await self._answered([question for question, _ in batch])
                for (_, answer), verdict in zip(batch, verdicts, strict=True):
                    if not answer.done():
                        answer.set_result(verdict)
        finally:
            self._sending = None

    async def _answered(self, questions: list[Question]) -> list[Verdict | None]:
        try:
            return await limiter.ask_all(questions)
        except Exception:  # whatever it is, nobody may wait for ever
            logger.exception("Limits could not be asked about")
            return [None] * len(questions)


_of_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Batches]" = weakref.WeakKeyDictionary()
