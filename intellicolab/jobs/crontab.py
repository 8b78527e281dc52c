"""Cron expressions: the days and the times of day that five fields name, in no time zone yet.

As crontab(5) of Paul Vixie's cron has them: minute, hour, day of the month, month and day of the week. Each is a list,
separated by commas, of `*`, numbers, names and ranges, with a step or without; `5/15` is every 15th from 5 on. Sunday
is 0 and 7.
"""

import calendar
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import product
from typing import NamedTuple

SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
LEAP_YEAR = 2028  # any: it has every day that a month can have


class ScheduleError(ValueError):
    """A schedule that can't be; the message says what to write in its place."""


class Field(NamedTuple):
    """One of the five: its numbers, and the names that may stand for them, of which the first is `low`."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def numbers(self, text: str) -> set[int]:
        """All that the field's text names. Raises ScheduleError."""
        return {number for part in text.split(",") for number in self._part(part)}

    def _part(self, part: str) -> range:
        span, slash, step = part.partition("/")
        low, high = self._span(span, open_end=bool(slash))
        return range(low, high + 1, self._step(step) if slash else 1)

    def _span(self, span: str, open_end: bool) -> tuple[int, int]:
        if span == "*":
            return self.low, self.high
        first, dash, last = span.partition("-")
        low = self._number(first)
        high = self._number(last) if dash else self.high if open_end else low
        if high < low:
            raise ScheduleError(f"{span!r} in the {self.name} runs backwards: write two ranges, separated by a comma.")
        return low, high

    def _number(self, text: str) -> int:
        if text.upper() in self.names:
            return self.names.index(text.upper()) + self.low
        if re.fullmatch("[0-9]{1,2}", text) and self.low <= int(text) <= self.high:
            return int(text)
        names = f", or {self.names[0]} to {self.names[-1]}" if self.names else ""
        raise ScheduleError(
            f"{text!r} is no {self.name}: write {self.low} to {self.high}{names}; a list such as 1,3; a range such as "
            "1-5; * for each; and a step such as */2 or 1-5/2."
        )

    def _step(self, text: str) -> int:
        # A longer one would leave just the first number: */90 minutes would be every hour, which nobody means by it.
        longest = self.high - self.low + 1
        if re.fullmatch("[0-9]{1,2}", text) and 1 <= int(text) <= longest:
            return int(text)
        raise ScheduleError(f"{text!r} is no step of the {self.name}: write 1 to {longest}, or use an interval.")


MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY = Field("day of the month", 1, 31)
MONTH = Field("month", 1, 12, tuple("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()))
WEEKDAY = Field("day of the week", 0, 7, tuple("SUN MON TUE WED THU FRI SAT".split()))


@dataclass(frozen=True)
class Crontab:
    """What an expression names.

    `either` is Vixie's rule: a day needs to match only one of `days` and `weekdays`, unless one of the two fields
    begins with a `*`; then it must match both. `elapsed` tells that the minute or the hour has a `*` or a step.
    """

    times: tuple[time, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool
    elapsed: bool

    @classmethod
    def parse(cls, expression: str) -> "Crontab":
        """Raises ScheduleError for an expression that is none, and for one that names no day of any year."""
        minute, hour, day, month, weekday = _split(expression)
        table = cls(
            times=tuple(time(*pair) for pair in product(sorted(HOUR.numbers(hour)), sorted(MINUTE.numbers(minute)))),
            days=frozenset(DAY.numbers(day)),
            months=frozenset(MONTH.numbers(month)),
            weekdays=frozenset(number % 7 for number in WEEKDAY.numbers(weekday)),
            either=not day.startswith("*") and not weekday.startswith("*"),
            elapsed=any(sign in field for sign in "*/" for field in (minute, hour)),
        )
        table._refuse_never(expression)
        return table

    def local_times(self, start: datetime) -> Iterator[datetime]:
        """Those from `start` on, by the calendar alone, naive as it is. Raises OverflowError after the year 9999."""
        for day in self._dates(start.date()):
            first = bisect_left(self.times, start.time()) if day == start.date() else 0
            for moment in self.times[first:]:
                yield datetime.combine(day, moment)

    def _dates(self, day: date) -> Iterator[date]:
        while True:
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=31)).replace(day=1)
                continue
            if self._matches(day):
                yield day
            day += timedelta(days=1)

    def _matches(self, day: date) -> bool:
        by_number, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_number or by_weekday if self.either else by_number and by_weekday

    def _refuse_never(self, expression: str) -> None:
        # Weekdays need no look: within 400 years every date falls on each of them, 29 February too.
        longest = max(calendar.monthrange(LEAP_YEAR, month)[1] for month in self.months)
        if not self.either and min(self.days) > longest:
            raise ScheduleError(
                f"{expression!r} never comes: its months have no day {min(self.days)}. "
                f"Write a day up to {longest}, or another month."
            )


def _split(expression: str) -> list[str]:
    fields = SHORTHANDS.get(expression.strip().lower(), expression).split()
    if len(fields) != 5:
        raise ScheduleError(
            f"{expression!r} is no cron expression: write five fields (minute, hour, day of the month, month, day of "
            f"the week), such as '30 4 * * MON-FRI', or one of {', '.join(SHORTHANDS)}."
        )
    return fields
