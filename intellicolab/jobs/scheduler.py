"""The scheduler: of all workers the one that holds the lock enqueues what the plans say.

How far a plan is and the rows of its jobs are written in one transaction, which the lock's fencing number guards: each
planned run is enqueued once, whoever dies and whoever wakes late.
"""

import logging
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from intellicolab.cache.models import Fence
from intellicolab.redis.fence import StaleFence
from intellicolab.redis.lock import Grant, Lock
from intellicolab.redis.sole import SoleService

from .models import PlannedJob
from .plans import Plan, plans
from .schedules import due

logger = logging.getLogger("intellicolab.jobs")

NAME = "scheduler"
LEASE = 15.0  # seconds until another worker takes over from one that was killed

lock = Lock(NAME, lease=LEASE, wait=2.0, purpose="the schedule of jobs")


class Scheduler(SoleService):
    """Looks each second. A run that is planned at a second is enqueued within the next one."""

    title = "Jobs: the scheduler"

    def __init__(self) -> None:
        super().__init__(lock)
        self._broken: set[str] = set()  # plans, whose fault is in the log

    def round(self, grant: Grant) -> None:
        """A fault of one plan is told once, and delays no other one. Raises DatabaseError, StaleFence."""
        now = timezone.now()
        known = PlannedJob.objects.in_bulk([plan.name for plan in plans()])
        for plan in plans():
            try:
                self._look_at(plan, known.get(plan.name), now, grant)
            except StaleFence:
                raise
            except Exception:  # of the schedule's own code, of arguments; an outage ends the next round as it begins
                self._note_broken(plan)
            else:
                self._broken.discard(plan.name)

    def _look_at(self, plan: Plan, planned: PlannedJob | None, now: datetime, grant: Grant) -> None:
        if planned is None:
            PlannedJob.objects.get_or_create(name=plan.name, defaults={"last": now})
        elif moments := due(plan.schedule, planned.last, now, plan.missed):
            self._enqueue(plan, planned, moments, grant)

    def _note_broken(self, plan: Plan) -> None:
        if plan.name not in self._broken:
            logger.exception("The plan %r cannot be enqueued, which is tried again each second", plan.name)
        self._broken.add(plan.name)

    def _enqueue(self, plan: Plan, planned: PlannedJob, moments: list[datetime], grant: Grant) -> None:
        with transaction.atomic():
            Fence.advance(NAME, grant.fence)
            PlannedJob.objects.filter(pk=planned.pk).update(last=moments[-1])
            if planned.is_paused:
                return  # its runs pass by, and are not made up for
            for moment in moments:
                result = plan.task.enqueue(*plan.args, **plan.kwargs)
                logger.info("%s, planned at %s, is the job %s", plan.name, moment.isoformat(), result.id)


def run_now(plan: Plan) -> str:
    """Enqueue it besides its schedule; the job's id."""
    return plan.task.enqueue(*plan.args, **plan.kwargs).id


def set_paused(name: str, paused: bool) -> bool:
    """Whether that changed anything. What was planned while it was paused is not made up for."""
    return bool(PlannedJob.objects.filter(name=name, is_paused=not paused).update(is_paused=paused))
