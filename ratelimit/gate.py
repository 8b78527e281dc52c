"""The one place where requests, frames and whatever else is limited are decided.

occasion and caller → the policies that apply → refusals that are remembered → one call to Redis → the outcome, counted
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from intellicolab.redis.breaker import PAUSE
from intellicolab.redis.counters import counters

from . import statistics
from .batches import Batches
from .book import book
from .caller import Caller
from .exemptions import Treatment
from .limiter import Charge, Verdict, limiter
from .matching import CONNECT, REQUEST, Occasion
from .offenders import offenders
from .policies import Asked, LivePolicy, Policies
from .rules import Decision
from .traffic import traffic

UNANSWERED_SECONDS = PAUSE  # then Redis is asked again

site = statistics.tallies_of(statistics.SITE)


class Standing(NamedTuple):
    """What an enforced policy said."""

    policy: LivePolicy
    decision: Decision


@dataclass(slots=True, eq=False)
class Outcome:
    """What was decided. Leases that were charged are held until they are refunded or not renewed any more."""

    admitted: bool = True
    asked: Sequence[Asked] = ()
    verdict: Verdict | None = None  # of Redis, on each of `asked`
    known: tuple[Standing, ...] = ()  # where Redis was not asked
    denied: bool = False  # by an administrator: coming again is no use

    @property
    def unanswered(self) -> bool:
        """Whether policies applied that nobody could be asked about."""
        return self.verdict is None and not self.known and not self.denied and bool(self.asked)

    @property
    def standings(self) -> Sequence[Standing]:
        """What each enforced policy said; none where no policy applied or Redis gave no answer."""
        if self.verdict is None:
            return self.known
        return [
            Standing(asked.policy, decision)
            for asked, decision in zip(self.asked, self.verdict.decisions, strict=True)
            if not asked.policy.rule.shadow
        ]

    @property
    def refusing(self) -> list[Standing]:
        return [standing for standing in self.standings if not standing.decision.admitted]

    @property
    def retry_after(self) -> float | None:
        """Seconds until all that refuse would admit; None for never."""
        if self.unanswered:
            return UNANSWERED_SECONDS
        waits = [standing.decision.wait for standing in self.refusing]
        known = [wait for wait in waits if wait is not None]
        return None if self.denied or len(known) < len(waits) else max(known, default=0) / 1e6


FREE = Outcome()
DENIED = Outcome(admitted=False, denied=True)


class Case:
    """One occasion on its way: `outcome` is there at once or after Redis has said what of `asked` it admits."""

    __slots__ = ("_caller", "_occasion", "_policies", "asked", "outcome")

    def __init__(self, policies: Policies, occasion: Occasion, caller: Caller, cost: int = 1, lease: str = "") -> None:
        self._policies, self._occasion, self._caller = policies, occasion, caller
        self.asked: Sequence[Asked] = ()
        self.outcome = self._listed() if policies.exemptions else None
        if self.outcome is None:
            self.asked = policies.asked(occasion, caller, cost, lease)
            traffic.note(occasion, caller, cost)
            if not self.asked:
                site.allowed()
                self.outcome = FREE
            elif policies.refusals:
                self.outcome = self._remembered()

    @property
    def charges(self) -> list[Charge]:
        return [asked.charge for asked in self.asked]

    def conclude(self, verdict: Verdict | None) -> Outcome:
        """Count and remember what Redis said; None when it gave no answer."""
        if verdict is None:
            return self._without_redis()
        return self._admitted(verdict) if verdict.admitted else self._refused(verdict)

    def _listed(self) -> Outcome | None:
        treatment = self._policies.exemptions.of(self._caller)
        if treatment is None:
            return None
        if treatment is Treatment.DENIED:
            count_denied()
            return DENIED
        counters.add(statistics.FAMILY, statistics.field(statistics.SITE, statistics.EXEMPT))
        return FREE

    def _remembered(self) -> Outcome | None:
        asked = []
        known = []
        for each in self.asked:
            found = self._policies.refusals.get(each.key)
            if found is not None and each.charge.cost >= found.what:
                asked.append(each)
                known.append(Standing(each.policy, refused_until(found.until)))
                each.policy.counts.remembered()
                self._note_refusal(each)
        if not asked:
            return None
        site.remembered()
        site.refused()
        return Outcome(False, asked, known=tuple(known))

    def _admitted(self, verdict: Verdict) -> Outcome:
        for asked, admitted in zip(self.asked, verdict.admits, strict=True):
            (asked.policy.counts.allowed if admitted else asked.policy.counts.shadow)()
        site.allowed()
        return Outcome(True, self.asked, verdict)

    def _refused(self, verdict: Verdict) -> Outcome:
        for asked, decision in zip(self.asked, verdict.decisions, strict=True):
            if decision.admitted:
                continue
            if asked.policy.rule.shadow:
                asked.policy.counts.shadow()
            else:
                self._note_refusal(asked)
                self._remember(asked, decision)
        site.refused()
        return Outcome(False, self.asked, verdict)

    def _without_redis(self) -> Outcome:
        closed = [asked for asked in self.asked if asked.policy.closed and not asked.policy.rule.shadow]
        for asked in closed or self.asked:
            (asked.policy.counts.closed if closed else asked.policy.counts.open)()
        (site.closed if closed else site.open)()
        return Outcome(not closed, closed or self.asked)

    def _note_refusal(self, asked: Asked) -> None:
        asked.policy.counts.refused()
        offenders.note(asked.policy.rule.name, asked.identity, self._occasion)

    def _remember(self, asked: Asked, decision: Decision) -> None:
        if decision.wait is None:
            return
        until = time.monotonic() + decision.wait / 1e6
        if asked.policy.is_remembered:
            self._policies.refusals.add(asked.key, asked.charge.cost, until)
        if self._occasion.subject in (REQUEST, CONNECT):
            self._policies.remember_sender(asked.policy, asked.identity, self._caller, until)


def count_denied() -> None:
    counters.add(statistics.FAMILY, statistics.field(statistics.SITE, statistics.DENIED))


def refused_until(until: float) -> Decision:
    """What is remembered of a refusal that ends then (monotonic seconds)."""
    left = max(1, int((until - time.monotonic()) * 1e6))
    return Decision(admitted=False, remaining=0, wait=left, reset=left)


def decide(occasion: Occasion, caller: Caller, cost: int = 1, lease: str = "") -> Outcome:
    """Charge all policies that apply, if every one admits. Never raises on what Redis or the database do."""
    case = Case(book.policies(), occasion, caller, cost, lease)
    return case.outcome or case.conclude(limiter.hit(case.charges))


async def adecide(occasion: Occasion, caller: Caller, cost: int = 1, lease: str = "") -> Outcome:
    """As `decide`, on the running event loop."""
    await caller.load()
    case = Case(await book.apolicies(), occasion, caller, cost, lease)
    return case.outcome or case.conclude(await Batches.here().ahit(case.charges))


def peek(occasion: Occasion, caller: Caller, cost: int = 1) -> list[tuple[Asked, Decision | None]]:
    """The policies that apply, and what each would say; nothing is charged or counted. None: Redis gave no answer."""
    asked = book.policies().asked(occasion, caller, cost)
    verdict = limiter.peek([each.charge for each in asked]) if asked else None
    said = [None] * len(asked) if verdict is None else verdict.decisions
    return list(zip(asked, said, strict=True))


def refund(occasion: Occasion, caller: Caller, cost: int = 1) -> None:
    """Take back what `decide` charged, as far as it still counts: what was counted turned out not to be one."""
    policies = book.policies()
    asked = policies.asked(occasion, caller, cost)
    if asked and policies.exemptions.of(caller) is None:
        limiter.refund([each.charge for each in asked])


def reset(occasion: Occasion, caller: Caller, only: Callable[[LivePolicy], bool] = lambda policy: True) -> int:
    """Forget what counts against the caller: of how many policies. Raises RedisError, OSError.

    Other processes go on for up to a second with the refusals that they remember.
    """
    asked = [each for each in book.policies().asked(occasion, caller) if only(each.policy)]
    return limiter.reset([each.charge for each in asked]) if asked else 0
