"""The limiter's counters as rows, one a policy, and who and what is refused most."""

from collections.abc import Mapping
from dataclasses import dataclass

from accounts.models import User
from ratelimit import offenders, statistics
from ratelimit.identity import USER
from ratelimit.models import Policy

from .queries import Family

MOST = 10  # offenders, and places


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One policy in the last hour, and what it has refused since the beginning."""

    policy: str
    mode: str
    allowed: int
    refused: int
    remembered: int
    shadow: int
    opened: int
    closed: int
    total_refused: int


@dataclass(frozen=True, slots=True)
class OffenderRow:
    """`who` is empty when their name is not kept any more."""

    policy: str
    kind: str
    who: str
    refusals: int


def limit_rows(family: Family) -> list[LimitRow]:
    """All policies that there are, in their order."""
    hour, totals = statistics.by_name(family.hour()), statistics.by_name(family.totals)
    return [_row(policy, hour.get(str(policy.pk), {}), totals.get(str(policy.pk), {})) for policy in _policies()]


def _row(policy: Policy, hour: Mapping[str, int], totals: Mapping[str, int]) -> LimitRow:
    mode = policy.get_mode_display().partition(":")[0]
    counts = [hour.get(outcome, 0) for outcome in statistics.OUTCOMES]
    return LimitRow(policy.name, mode, *counts, *[totals.get(statistics.REFUSED, 0)])


def offender_rows() -> list[OffenderRow]:
    """Those of the last hour, up to ten minutes more. Raises RedisError or OSError."""
    found = offenders.top(MOST)
    names = {str(policy.pk): policy.name for policy in _policies()}
    people = _people([each.who for each in found if each.kind == USER and each.who])
    return [
        OffenderRow(names.get(each.policy, "deleted"), each.kind, _who(each, people), each.refusals) for each in found
    ]


def _who(offender: offenders.Offender, people: Mapping[str, str]) -> str:
    return people.get(offender.who, offender.who) if offender.kind == USER else offender.who


def _people(ids: list[str]) -> dict[str, str]:
    rows = User.objects.filter(pk__in=ids).values_list("pk", "display_name") if ids else ()
    return {str(pk): name for pk, name in rows}


def place_rows() -> list[tuple[str, int]]:
    """The paths and frames refused most often in the last hour. Raises RedisError or OSError."""
    return offenders.top_places(MOST)


def _policies() -> list[Policy]:
    return list(Policy.objects.all())
