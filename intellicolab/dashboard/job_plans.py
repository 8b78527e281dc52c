"""The table of plans on the page Jobs."""

from dataclasses import dataclass
from datetime import datetime

from intellicolab.jobs.models import PlannedJob
from intellicolab.jobs.plans import Plan, plans
from intellicolab.jobs.problems import OVERDUE, overdue
from intellicolab.jobs.schedules import Cron, Every, Schedule
from intellicolab.redis.lock import HeldLock

from .figures import age

UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


@dataclass(frozen=True, slots=True)
class PlanRow:
    """`plan` is None where the code declares it no more, `planned` where no scheduler has met it yet."""

    name: str
    plan: Plan | None
    planned: PlannedJob | None
    late: float = 0.0  # seconds
    next: datetime | None = None

    @property
    def last(self) -> datetime | None:
        """The latest planned moment that has passed. At first the row holds the moment when the scheduler met it."""
        if self.plan is None or self.planned is None:
            return self.planned.last if self.planned else None
        last = self.planned.last
        return last if self.plan.next_after(last - datetime.resolution) == last else None

    @property
    def task(self) -> str:
        return self.plan.task.module_path if self.plan else ""

    @property
    def schedule(self) -> str:
        return schedule_words(self.plan.schedule) if self.plan else ""

    @property
    def is_late(self) -> bool:
        return self.late >= OVERDUE

    @property
    def late_for(self) -> str:
        return age(self.late)


def plan_rows(now: datetime, lock: HeldLock | None) -> list[PlanRow]:
    """Those that the code declares, then those that only the database knows. Raises DatabaseError."""
    known = {planned.name: planned for planned in PlannedJob.objects.all()}
    declared = [_row(plan, known.pop(plan.name, None), now, lock) for plan in plans()]
    return declared + [PlanRow(name, None, planned) for name, planned in known.items()]


def _row(plan: Plan, planned: PlannedJob | None, now: datetime, lock: HeldLock | None) -> PlanRow:
    coming = None if planned is not None and planned.is_paused else plan.next_after(now)
    return PlanRow(plan.name, plan, planned, overdue(plan, planned, now, lock), coming)


def schedule_words(schedule: Schedule) -> str:
    """A cron expression as it was written, with its zone; an interval in words."""
    if isinstance(schedule, Cron):
        return f"{schedule.expression} ({schedule.zone})"
    if isinstance(schedule, Every):
        return f"every {_interval(schedule.seconds)}"
    return str(schedule)


def _interval(seconds: float) -> str:
    """In the largest unit of which it is a whole number."""
    for length, name in UNITS:
        if seconds % length == 0:
            count = int(seconds // length)
            return name if count == 1 else f"{count:,} {name}s"
    return f"{seconds:g} seconds"
