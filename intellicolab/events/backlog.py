"""How the outbox stands: what waits in the database, since when, and how fast facts come."""

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from .models import OutboxRow

MOST = 10_000  # rows that are counted: beyond that the page says "more than"
SAMPLE = 1000  # facts over which the speed of a stream is measured


@dataclass(frozen=True, slots=True)
class Backlog:
    """Rows that are not in Redis yet; `oldest` is the age in seconds of the first."""

    rows: int = 0
    oldest: float | None = None

    @property
    def is_more(self) -> bool:
        return self.rows > MOST


def unnumbered() -> Backlog:
    """Those that the relay has not seen yet."""
    rows = OutboxRow.objects.filter(position=None).order_by("id")
    return Backlog(rows[: MOST + 1].count(), _age(rows.values_list("made_at", flat=True).first()))


def uncarried(stream: str, end: int) -> Backlog:
    """Those that have their position, above `end`, the last that the stream has: it is full, or Redis was away."""
    rows = OutboxRow.objects.filter(stream=stream, position__gt=end).order_by("position")
    return Backlog(rows[: MOST + 1].count(), _age(rows.values_list("made_at", flat=True).first()))


def kept(stream: str) -> int:
    """Rows that have their position. Positions have no gaps, so the first and the last tell, without a look at all."""
    positions = OutboxRow.objects.filter(stream=stream, position__gt=0).values_list("position", flat=True)
    first, last = positions.order_by("position").first(), positions.order_by("-position").first()
    return 0 if first is None or last is None else last - first + 1


def pace(stream: str) -> float | None:
    """Facts a second, over the last thousand of at most an hour; None where there were none."""
    rows = OutboxRow.objects.filter(stream=stream, position__gt=0)
    last = rows.order_by("-position").values_list("position", flat=True).first()
    if last is None:
        return None
    first = rows.filter(position__gt=last - SAMPLE).order_by("position").first()
    if first is None or first.position is None:
        return None  # pruned in between
    return (last - first.position + 1) / max(1.0, _age(first.numbered_at) or 0.0)


def _age(since: datetime | None) -> float | None:
    return None if since is None else max(0.0, (timezone.now() - since).total_seconds())
