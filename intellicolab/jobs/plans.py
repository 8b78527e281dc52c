"""Plans: which job runs when. The code declares them, and one scheduler of the whole installation enqueues them.

plan("prune the audit log", prune, Cron("30 3 * * *", zone="Europe/Berlin"))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django_tasks.base import Task

from .schedules import Cron, Missed, Schedule


@dataclass(frozen=True)
class Plan:
    """`missed` says what becomes of runs at which no worker lived."""

    name: str
    task: Task
    schedule: Schedule
    missed: Missed = Missed.ONCE
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def next_after(self, moment: datetime) -> datetime:
        return self.schedule.after(moment)


_plans: dict[str, Plan] = {}


def plan(
    name: str,
    task: Task,
    schedule: Schedule | str,
    *,
    missed: Missed = Missed.ONCE,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Plan:
    """Declare one. A text is a cron expression in the installation's time zone.

    Raises ValueError for a name that is taken, ScheduleError for a schedule that can't be.
    """
    if name in _plans:
        raise ValueError(f"There is a plan {name!r} already.")
    when = Cron(schedule, settings.TIME_ZONE) if isinstance(schedule, str) else schedule
    made = _plans[name] = Plan(name, task, when, missed, tuple(args), dict(kwargs or {}))
    return made


def plans() -> list[Plan]:
    """All that are declared, by name."""
    return [_plans[name] for name in sorted(_plans)]


def plan_named(name: str) -> Plan | None:
    return _plans.get(name)
