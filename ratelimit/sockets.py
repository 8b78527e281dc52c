"""The limits of one open socket: its opening, how many one may have open, and each frame by its type."""

import asyncio
import itertools
import logging
import secrets
import weakref
from collections.abc import Callable
from functools import partial

from .batches import Batches
from .book import book
from .caller import Caller
from .gate import FREE, Case, Outcome, adecide
from .limiter import Charge, Verdict
from .matching import CONNECT, FRAME, Occasion
from .models import RENEW_SECONDS
from .traffic import traffic

logger = logging.getLogger("ratelimit")

# Leases are told apart by process and number: randomness for each socket is a system call each.
_PROCESS = secrets.token_hex(8)
_numbers = itertools.count()

RENEW_AT_ONCE = 50  # sockets


class SocketLimits:
    """Of a socket whose person is known."""

    def __init__(self, caller: Caller, path: str = "") -> None:
        self._caller = caller
        self._opening = Occasion(CONNECT, path)
        self._lease = f"{_PROCESS}{next(_numbers):x}"
        self._last: asyncio.Future[Verdict | None] | None = None

    async def open(self) -> Outcome:
        """Charge the opening. What the socket holds counts until `close`, or until its process is gone for a minute."""
        outcome = await adecide(self._opening, self._caller, lease=self._lease)
        if outcome.admitted:
            Leases.here().hold(self)
        return outcome

    async def close(self) -> None:
        await Leases.here().give_back(self)

    async def holding(self, fresh: bool = True) -> list[Charge]:
        """What it should hold by the policies of now, which may have come after the socket.

        If not `fresh`, by the tier that its person had when that was asked last: what it holds was charged by that.
        """
        policies = await book.apolicies()
        if fresh:
            await self._caller.load()
        asked = policies.asked(self._opening, self._caller, lease=self._lease)
        return [each.charge for each in asked if each.charge.lease]

    async def frame(self, kind: str) -> Outcome:
        """Charge a frame of that type."""
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        await self.ask(kind, partial(_settle, answer))
        return await answer

    async def ask(self, kind: str, then: Callable[[Outcome], None]) -> None:
        """Have `then` called with what is decided on a frame of that type, in the order of the frames.

        Returns without waiting for Redis: the questions of all sockets of one turn of the loop go there together, and
        what one socket sends in a row is asked in one round trip, not in one a frame.
        """
        policies, occasion = await book.apolicies(), Occasion(FRAME, frame=kind)
        if not policies.exemptions and not policies.apply_to(occasion):
            traffic.note(occasion, self._caller, 1)
            self._after_the_last(then, FREE)
            return
        await self._caller.load()
        case = Case(policies, occasion, self._caller)
        if case.outcome is not None:
            self._after_the_last(then, case.outcome)
            return
        self._last = Batches.here().hit(case.charges)
        self._last.add_done_callback(lambda answer: then(case.conclude(answer.result())))

    def _after_the_last(self, then: Callable[[Outcome], None], outcome: Outcome) -> None:
        """A frame that nobody need be asked about must not overtake one that Redis was asked about."""
        if self._last is None:
            then(outcome)
        else:
            self._last.add_done_callback(lambda _: then(outcome))


def _settle(answer: "asyncio.Future[Outcome]", outcome: Outcome) -> None:
    if not answer.done():  # nobody waits for it any more
        answer.set_result(outcome)


class Leases:
    """What the open sockets of one event loop hold; one task renews it all."""

    def __init__(self) -> None:
        self._open: set[SocketLimits] = set()
        self._renewing: asyncio.Task[None] | None = None

    @classmethod
    def here(cls) -> "Leases":
        """The running loop's."""
        loop = asyncio.get_running_loop()
        found = _of_loop.get(loop)
        if found is None:
            found = _of_loop[loop] = cls()
        return found

    def hold(self, limits: SocketLimits) -> None:
        self._open.add(limits)
        if self._renewing is None:
            self._renewing = asyncio.ensure_future(self._renew())

    async def give_back(self, limits: SocketLimits) -> None:
        """What Redis does not hear of ends by itself, within a minute."""
        if limits in self._open:
            self._open.remove(limits)
            if charges := await limits.holding(fresh=False):
                await Batches.here().refund(charges)

    async def _renew(self) -> None:
        try:
            while self._open:
                await self._renew_all(list(self._open))
        finally:
            self._renewing = None

    async def _renew_all(self, limits: list[SocketLimits]) -> None:
        """A few at a time over the whole interval: thousands at once would hold up everything else on the loop."""
        parts = [limits[start : start + RENEW_AT_ONCE] for start in range(0, len(limits), RENEW_AT_ONCE)]
        for part in parts:
            await asyncio.sleep(RENEW_SECONDS / len(parts))
            renewed = await asyncio.gather(*map(self._renew_one, part), return_exceptions=True)
            for error in filter(None, renewed):  # a fault with one socket must not end what all others hold
                logger.error("A place could not be held any longer", exc_info=error)

    async def _renew_one(self, limits: SocketLimits) -> None:
        """Nobody is closed who has no place any more, such as after a lower limit: they keep what they have."""
        charges = await limits.holding() if limits in self._open else []
        if charges and limits in self._open:
            await Batches.here().hit(charges)
            if limits not in self._open:  # closed meanwhile, and its refund may have come before
                await Batches.here().refund(charges)


_of_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Leases]" = weakref.WeakKeyDictionary()
