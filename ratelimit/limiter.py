"""Asking Redis: one script call decides all rules of a request and charges them only if every one admits.

On a Cluster an identity's states lie on one node, so it is one call an identity, all sent together; what one identity
was charged is given back when another one refuses. In between, a third request may be refused that would have been
admitted otherwise; more than a limit is never admitted. docs/ratelimit.md has how often that happens.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import redis
import redis.asyncio
from redis.exceptions import MaxConnectionsError, RedisError, TimeoutError

from intellicolab.redis import keys, scripts
from intellicolab.redis.breaker import Breaker
from intellicolab.redis.client import READ_TIMEOUT, Purpose, Role, async_client, client
from intellicolab.redis.cluster import AsyncCluster, Cluster
from intellicolab.redis.scripts import Run, arun_each, run_each

from .rules import DECISION_SIZE, Decision, Rule, decisions

_decide = scripts.load(Path(__file__).parent, "decide")


@dataclass(frozen=True)
class Charge:
    """What a rule shall count against an identity (as `identity.py` hashes it).

    Where the rule is about concurrency, `lease` names who holds one; a hit by that name renews it.
    """

    rule: Rule
    identity: str
    cost: int = 1
    lease: str = ""

    @cached_property
    def key(self) -> str:
        return keys.limit(self.rule.state, self.identity)

    @cached_property
    def packed(self) -> bytes:
        packed = self.rule.packed(self.cost)
        return packed + self.lease.encode() if self.lease else packed


@dataclass(slots=True, eq=False)
class Verdict:
    """What the rules said, each about its charge."""

    charges: Sequence[Charge]
    answer: bytes  # of decide.lua; most who ask only want to know whether all is well

    @property
    def decisions(self) -> list[Decision]:
        return decisions(self.answer)

    def parts(self) -> Iterator[tuple[Charge, bytes]]:
        """The answer to each charge, as decide.lua has packed it."""
        for at, charge in enumerate(self.charges):
            yield charge, self.answer[at * DECISION_SIZE : (at + 1) * DECISION_SIZE]

    def __iter__(self) -> Iterator[tuple[Charge, Decision]]:
        return zip(self.charges, self.decisions, strict=True)

    @property
    def admits(self) -> bytes:
        """1 or 0 for each charge."""
        return self.answer[::DECISION_SIZE]

    @property
    def admitted(self) -> bool:
        """Whether the request is: no shadow rule refuses it."""
        admits = self.admits
        return 0 not in admits or all(
            said or charge.rule.shadow for charge, said in zip(self.charges, admits, strict=True)
        )


class Question(NamedTuple):
    """`operation` is one of decide.lua's: hit, peek or refund."""

    operation: str
    charges: Sequence[Charge]

    def calls(self, *, on_cluster: bool) -> "list[Question]":
        """What one script can decide together: on a Cluster the charges of an identity, else all."""
        if not on_cluster:
            return [self]
        identities: dict[str, list[Charge]] = {}
        for charge in self.charges:
            identities.setdefault(charge.identity, []).append(charge)
        return [Question(self.operation, charges) for charges in identities.values()]

    def run(self) -> Run:
        return Run(_decide, *_parts_of(self.operation, self.charges))

    def answered(self, calls: "Sequence[Question]", answers: Iterable[Any]) -> "Answered":
        """From the answers of its calls: an error where a node did not answer."""
        return Answered(
            self,
            [
                None if isinstance(answer, Exception) else Verdict(call.charges, answer)
                for call, answer in zip(calls, answers, strict=True)
            ],
        )


class Answered(NamedTuple):
    question: Question
    verdicts: list[Verdict | None]

    @property
    def in_vain(self) -> list[Charge]:
        """What one call has charged while another one refuses."""
        if len(self.verdicts) == 1 or self.question.operation != "hit":
            return []
        if all(verdict is None or verdict.admitted for verdict in self.verdicts):
            return []
        admitting = [verdict for verdict in self.verdicts if verdict is not None and verdict.admitted]
        return [charge for verdict in admitting for charge, said in verdict if said.admitted]

    @property
    def verdict(self) -> Verdict | None:
        """One, in the order of the charges; None when any call had no answer."""
        if len(self.verdicts) == 1:
            return self.verdicts[0]
        said: dict[str, bytes] = {}
        for verdict in self.verdicts:
            if verdict is None:
                return None
            said.update((charge.key, answer) for charge, answer in verdict.parts())
        return Verdict(self.question.charges, b"".join(said[charge.key] for charge in self.question.charges))


class Limiter:
    """Asks for no longer than the time-out of `Purpose.FAST`, and not at all while Redis is known to be away.

    Each operation returns None when there is no answer: the caller's policies say what happens then.
    """

    def __init__(self, name: str = "Rate limits") -> None:
        self.breaker = Breaker(name, "each policy says whether requests pass meanwhile")

    def hit(self, charges: Sequence[Charge]) -> Verdict | None:
        """Charge all, if all admit."""
        return self._ask("hit", charges)

    def peek(self, charges: Sequence[Charge]) -> Verdict | None:
        """What `hit` would say; nothing is charged."""
        return self._ask("peek", charges)

    def refund(self, charges: Sequence[Charge]) -> Verdict | None:
        """Take back what was charged, as far as it still counts; a lease ends."""
        return self._ask("refund", charges)

    def reset(self, charges: Sequence[Charge]) -> int:
        """Forget what counts: how many of these had anything. Raises RedisError, OSError."""
        return sum(int(client(Role.STATE).unlink(key)) for key in {charge.key for charge in charges})

    def _ask(self, operation: str, charges: Sequence[Charge]) -> Verdict | None:
        if not self.breaker.ready():
            return None
        try:
            state = client(Role.STATE, Purpose.FAST)
            if type(state) is Cluster and len(charges) > 1:
                return self._ask_nodes(state, Question(operation, charges))
            answer = _decide(state, *_parts_of(operation, charges))
        except (RedisError, OSError) as error:
            self._failed(error)
            return None
        self.breaker.succeeded()
        return Verdict(charges, answer)

    def _ask_nodes(self, state: redis.Redis, question: Question) -> Verdict | None:
        calls = question.calls(on_cluster=True)
        answers = run_each(state, [call.run() for call in calls])
        self._heard(answers)
        answered = question.answered(calls, answers)
        if answered.in_vain:
            self._ask("refund", answered.in_vain)
        return answered.verdict

    async def ask(self, question: Question) -> Verdict | None:
        """On the running event loop."""
        return (await self.ask_all([question]))[0]

    async def ask_all(self, questions: Sequence[Question]) -> list[Verdict | None]:
        """All sent together on the running event loop; the later ones see what the earlier ones have charged."""
        if not self.breaker.ready():
            return [None] * len(questions)
        began = time.monotonic()
        try:
            state = async_client(Role.STATE, Purpose.FAST)
            on_cluster = type(state) is AsyncCluster
            if len(questions) > 1 or on_cluster:
                return await self._ask_together(state, questions, on_cluster=on_cluster)
            answer = await _decide.call_async(state, *_parts_of(*questions[0]))
        except (RedisError, OSError) as error:
            self._failed(error, time.monotonic() - began)
            return [None] * len(questions)
        self.breaker.succeeded()
        return [Verdict(questions[0].charges, answer)]

    async def _ask_together(
        self, state: redis.asyncio.Redis, questions: Sequence[Question], *, on_cluster: bool
    ) -> list[Verdict | None]:
        calls = [question.calls(on_cluster=on_cluster) for question in questions]
        answers = await arun_each(state, [call.run() for parts in calls for call in parts])
        self._heard(answers)
        rest = iter(answers)
        answered = [
            question.answered(parts, islice(rest, len(parts))) for question, parts in zip(questions, calls, strict=True)
        ]
        if taken := [charge for each in answered for charge in each.in_vain]:
            await self.ask_all([Question("refund", taken)])
        return [each.verdict for each in answered]

    def _failed(self, error: Exception, took: float = 0.0) -> None:
        """What this process is itself to blame for says nothing of Redis: too many at once, or a loop that is late."""
        crowded = isinstance(error, MaxConnectionsError)
        late = isinstance(error, TimeoutError) and took > 2 * (READ_TIMEOUT[Purpose.FAST] or 0)
        if not crowded and not late:
            self.breaker.failed(error)

    def _heard(self, answers: Sequence[Any]) -> None:
        """On a Cluster one node may be away: whom it has the states of is not decided, and the others are."""
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        if errors and len(errors) == len(answers):
            self.breaker.failed(errors[0])
        else:
            self.breaker.succeeded()


def _parts_of(operation: str, charges: Sequence[Charge]) -> tuple[list[str], list[scripts.Argument]]:
    """KEYS and ARGV of decide.lua."""
    return [charge.key for charge in charges], [operation, *[charge.packed for charge in charges]]


# One for the process: its breaker knows whether Redis answers, for all who ask.
limiter = Limiter()
