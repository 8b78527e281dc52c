"""What a limit says in headers: draft-ietf-httpapi-ratelimit-headers-10, as structured fields (RFC 9651).

The draft still moves, so nothing else knows how these fields are written.
"""

import math
from collections.abc import Iterable
from functools import lru_cache

from .gate import Outcome, Standing
from .policies import LivePolicy

POLICY, LIMIT, RETRY = "RateLimit-Policy", "RateLimit", "Retry-After"
EXPOSED = ", ".join((POLICY, LIMIT, RETRY))


def fields(outcome: Outcome) -> dict[str, str]:
    """The fields of an answer; none where no policy applied."""
    found = {}
    if standings := outcome.standings:
        found[POLICY] = ", ".join([_policy_item(each.policy) for each in standings])
        found[LIMIT] = ", ".join([_limit_item(each) for each in standings])
    if not outcome.admitted and (seconds := retry_after(outcome)) is not None:
        found[RETRY] = str(seconds)
    return found


def retry_after(outcome: Outcome) -> int | None:
    """Whole seconds, at least one; None when coming again is no use."""
    return None if outcome.retry_after is None else max(1, math.ceil(outcome.retry_after))


@lru_cache(maxsize=1024)
def _policy_item(policy: LivePolicy) -> str:
    """Section 3: the quota `q` in a window of `w` seconds; a quota of what is held at once has no window."""
    name, rule = policy.name, policy.rule
    if rule.leases:
        return f'"{name}";q={rule.limit};qu="concurrent-requests"'
    return f'"{name}";q={rule.limit};w={max(1, rule.window_ms // 1000)}'


def _limit_item(standing: Standing) -> str:
    """Section 4: `r` requests remain, and in `t` seconds more will."""
    said = standing.decision
    until = said.reset if said.admitted or said.wait is None else said.wait
    return f'"{standing.policy.name}";r={said.remaining};t={-(-until // 1_000_000)}'


def joined(present: str, more: str) -> str:
    """A list's field with more members: a request may be limited by the middleware and by its view."""
    return f"{present}, {more}" if present else more


def names(standings: Iterable[Standing]) -> list[str]:
    return [standing.policy.name for standing in standings]
