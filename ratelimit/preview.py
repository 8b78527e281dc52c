"""What a policy would have done with the last hour's traffic, had it been the only one."""

from collections import Counter
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from .identity import ADDRESS, USER, USER_OR_ADDRESS
from .models import Policy
from .policies import LivePolicy
from .reference import MODELS
from .rules import Algorithm
from .traffic import Hour, Record, last_hour


class NotPredictable(ValueError):
    """The hour's traffic does not tell; the text says why."""


@dataclass(slots=True)
class Preview:
    """`refused` are counts by path or frame. Where `of` is above 1, it is of one person or address in so many."""

    of: int
    cut: int
    minutes: int  # that the records reach back
    records: int
    concerned: int = 0
    admitted: int = 0
    identities: int = 0
    limited: int = 0  # identities that were refused something
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def refusals(self) -> int:
        return self.refused.total()


def preview(policy: Policy, hour: Hour | None = None) -> Preview:
    """Replays the hour with the model of the policy's algorithm.

    Raises NotPredictable, ValueError for numbers that make no rule, and RedisError or OSError without Redis.
    """
    if policy.algorithm == Algorithm.CONCURRENCY:
        raise NotPredictable("How long sockets stayed open is not known, so nobody can tell how many there were.")
    hour = last_hour() if hour is None else hour
    return _replayed(policy, LivePolicy.of(policy), hour)


def _replayed(row: Policy, policy: LivePolicy, hour: Hour) -> Preview:
    records = hour.records
    minutes = ceil((records[-1].time - records[0].time) / 60) if records else 0
    found = Preview(hour.of, hour.cut, minutes, len(records))
    states: dict[str, Any] = {}
    limited = set()
    for record in records:
        whom = _whom(policy, record) if row.subject == record.occasion.subject else None
        if whom is None or not policy.matcher(record.occasion) or not policy.concerns(record):
            continue
        found.concerned += 1
        state = states.setdefault(whom, MODELS[policy.rule.algorithm]())
        cost, now = record.cost * policy.cost, round(record.time * 1_000_000)
        if state.admits(policy.rule, cost, now):
            state.take(policy.rule, cost, now)
            found.admitted += 1
        else:
            limited.add(whom)
            found.refused[record.place] += 1
    found.identities, found.limited = len(states), len(limited)
    return found


def _whom(policy: LivePolicy, record: Record) -> str | None:
    """The hashed identity that would be counted."""
    known = record.identities
    if policy.identity == USER_OR_ADDRESS:
        return known.get(USER) or known.get(ADDRESS)
    return known.get(policy.identity)
