"""When a job runs: by the calendar (`Cron`) or by an interval (`Every`), and which runs are due after a pause (`due`).

Where clocks are changed, a cron expression means one of two things, as in Vixie's cron (cron(8)):

- Fixed times (`30 2 * * *`) mean "once a day, about then". A local time that does not exist, because the clocks go
  forward, comes at the first moment after the gap, and several of them together come there once. A local time that
  exists twice, because the clocks go back, comes the first time only.
- With a `*` or a step (`/`) in the minute or the hour (`*/15 * * * *`), times mean "so often". They come whenever the
  clock shows them: in both hours when one is repeated, and not at all in a missing one. `*/15 2 * * *` therefore has no
  runs on a day without an hour 2.

A range is a list of fixed times, even `0-23`: write `*` for every hour.

An interval is counted in UTC, where no clock is changed.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import chain, islice
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .crontab import Crontab, ScheduleError

__all__ = ["Cron", "Every", "Missed", "Schedule", "ScheduleError", "due"]

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
LONGEST = 100 * 366 * 86_400  # seconds; beyond a century the unit was mistaken


class Schedule(Protocol):
    """What says when a job runs. Its runs are at least a second apart."""

    def after(self, moment: datetime) -> datetime:
        """The first run strictly after an aware moment, in UTC. Raises ScheduleError for a naive moment."""


@dataclass(frozen=True)
class Cron:
    """A cron expression, as `crontab` describes it, on the clocks of a time zone such as `Europe/Berlin`.

    Raises ScheduleError for an expression or a zone that is none, and for an expression that names no day of any year.
    """

    expression: str
    zone: str
    _table: Crontab = field(init=False, repr=False, compare=False)
    _clock: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_table", Crontab.parse(self.expression))
        object.__setattr__(self, "_clock", _zone(self.zone))

    def after(self, moment: datetime) -> datetime:
        """The first run strictly after an aware moment, in UTC. Raises OverflowError after the year 9999."""
        moment = _utc(moment)
        # Where the clocks go back within a day, local times that lie behind `moment` are still to come again.
        start = min(self._local(moment), self._local(moment + DAY) - DAY)
        # Within one fold (PEP 495) runs come in the order of their local times; with both mixed they would not.
        folds = (0, 1) if self._table.elapsed else (0,)
        return min(self._first(moment, start, fold) for fold in folds)

    def _first(self, moment: datetime, start: datetime, fold: int) -> datetime:
        runs = (self._run(local, fold) for local in self._table.local_times(start))
        return next(run for run in runs if run is not None and run > moment)

    def _run(self, local: datetime, fold: int) -> datetime | None:
        run = self._moment(local, fold)
        if self._local(run) == local:
            return run
        return None if self._table.elapsed else self._gap_end(local)

    def _gap_end(self, local: datetime) -> datetime:
        # In a gap fold 1 takes the offset from after it and so lands before it, and fold 0 the other way (PEP 495).
        before, after = self._moment(local, fold=1), self._moment(local, fold=0)
        seconds = range((after - before) // SECOND)
        return before + SECOND * bisect_left(seconds, local, key=lambda passed: self._local(before + SECOND * passed))

    def _moment(self, local: datetime, fold: int) -> datetime:
        return local.replace(tzinfo=self._clock, fold=fold).astimezone(UTC)

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(self._clock).replace(tzinfo=None, fold=0)


@dataclass(frozen=True)
class Every:
    """An interval in seconds, from its first run `anchor` (aware) on. A run that is late delays none of the others.

    Raises ScheduleError for less than a second, for more than a century and for a naive anchor.
    """

    seconds: float
    anchor: datetime

    def __post_init__(self) -> None:
        if not 1 <= self.seconds <= LONGEST:
            raise ScheduleError(f"An interval can't be {self.seconds:g} s: write 1 s or more, up to {LONGEST} s.")
        _utc(self.anchor)

    def after(self, moment: datetime) -> datetime:
        """The first run strictly after an aware moment, in UTC. Raises OverflowError after the year 9999."""
        anchor, interval = _utc(self.anchor), timedelta(seconds=self.seconds)
        return anchor + max(0, (_utc(moment) - anchor) // interval + 1) * interval


class Missed(StrEnum):
    """What becomes of runs that were missed, because no worker ran or the clock was wrong."""

    SKIP = "skip"  # none of them
    ONCE = "once"  # one run for all, the latest
    ALL = "all"  # each of them, the oldest first


def due(
    schedule: Schedule,
    last: datetime,
    now: datetime,
    missed: Missed,
    grace: timedelta = timedelta(minutes=1),
    most: int = 100,
) -> list[datetime]:
    """The planned moments to run now, the oldest first, in UTC: those after `last` and up to `now`, both aware.

    `last` is the planned moment of the latest run that was handled: give the last one returned here the next time. Up
    to `grace` ago a moment is not missed, and due whatever `missed` says. At most `most` are returned, the oldest; with
    `Missed.ALL` and the moments that are due the rest follows in the next call.

    Asks the schedule at most `most` + 50 times, however long ago `last` was. After a clock was set back nothing is due
    until it has passed `last` again, so that no run is repeated. Raises ScheduleError for naive moments.
    """
    last, now = _utc(last), _utc(now)
    if missed is Missed.ALL:
        return list(islice(_between(schedule, last, now), most))
    since = now - grace
    latest = _latest(schedule, last, since) if missed is Missed.ONCE else []
    on_time = _between(schedule, max(last, since - datetime.resolution), now)
    return list(islice(chain(latest, on_time), most))


def _between(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    run = schedule.after(after)
    while run <= until:
        yield run
        run = schedule.after(run)


def _latest(schedule: Schedule, after: datetime, before: datetime) -> list[datetime]:
    """The latest run between two moments, without both; none where there is none. Found by halving, not by counting."""
    if schedule.after(after) >= before:
        return []
    seconds = range(math.ceil((before - after) / SECOND))
    passed = bisect_left(seconds, True, key=lambda s: schedule.after(after + SECOND * s) >= before)
    return [schedule.after(after + SECOND * (passed - 1))]


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # no such name, no name at all, a folder of names
        raise ScheduleError(f"{name!r} is not a time zone. Use a name such as Europe/Berlin.") from error


def _utc(moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise ScheduleError(f"{moment} has no time zone: give an aware moment, such as django.utils.timezone.now().")
    return moment.astimezone(UTC)
