"""What was decided, by policy: counted in process and written to Redis each second, never a row a request."""

from collections.abc import Mapping
from functools import cache

from intellicolab.redis.counters import counters

FAMILY = "limit"

ALLOWED = "allowed"
REFUSED = "refused"
REMEMBERED = "remembered"  # of the refused: those that cost Redis nothing
SHADOW = "shadow"  # would have been refused, were the policy enforced
OPEN = "open"  # let through because Redis did not answer
CLOSED = "closed"  # refused because Redis did not answer
OUTCOMES = (ALLOWED, REFUSED, REMEMBERED, SHADOW, OPEN, CLOSED)

SITE = "all"  # in the place of a policy: requests and frames, whatever the number of policies that apply
DENIED = "denied"  # by an administrator's list
EXEMPT = "exempt"


class Tallies:
    """The counters of one policy, or of the whole site: `allowed()` counts one, and so on."""

    __slots__ = OUTCOMES

    def __init__(self, name: str) -> None:
        self.allowed, self.refused, self.remembered, self.shadow, self.open, self.closed = (
            counters.tally(FAMILY, field(name, outcome)).one for outcome in OUTCOMES
        )


@cache
def tallies_of(name: str) -> Tallies:
    """The process's tallies of a policy, named by its primary key."""
    return Tallies(name)


def field(name: str, outcome: str) -> str:
    """A counter's field of the family: a policy is named by its primary key, so that it may change its name."""
    return f"{name}:{outcome}"


def by_name(fields: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Counts by policy and outcome, from those of the family."""
    found: dict[str, dict[str, int]] = {}
    for name, count in fields.items():
        whose, _, outcome = name.partition(":")
        found.setdefault(whose, {})[outcome] = count
    return found
