"""What is wrong with queues, jobs and plans, in words, with the place to look: for the dashboard and the log."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from intellicolab.events.problems import NO_WORKER, Problem
from intellicolab.redis.heartbeat import Worker, workers
from intellicolab.redis.lock import HeldLock, held

from . import scheduler
from .figures import QueueFigures, dead_count, queue_figures
from .models import PlannedJob
from .plans import Plan, plans
from .schedules import Missed
from .store import MOST
from .worker import queues

HIGH = 80.0  # per cent of the jobs that a queue may hold: there is time left to start workers before it refuses any
FULL = 99.9  # up to 500 are stored at once, or none
SLOW = 5 * 60.0  # seconds that a job waits which could run; whoever enqueued it has given up looking
DEATHS = 10  # an hour: one that dies now and then is a fact to read about, more have a common cause
OVERDUE = 5 * 60.0  # seconds after which a plan is not merely late: a worker that takes over needs some fifteen


def found() -> list[Problem]:
    """Those of now. Raises RedisError, DatabaseError."""
    now = timezone.now()
    figures = [queue_figures(queue) for queue in queues()]
    lock = held(scheduler.NAME)
    return list(problems(figures, workers(), deaths(now), overdue_plans(now, lock), lock))


def problems(
    figures: Sequence[QueueFigures],
    living: Sequence[Worker],
    died: Mapping[str, int],
    overdue: Mapping[str, float],
    lock: HeldLock | None,
) -> Iterator[Problem]:
    """`died` as `deaths` and `overdue` as `overdue_plans` give them, and `lock` the scheduler's. Without a worker
    nothing runs, so of queues and plans nothing else is said then."""
    if not living:
        yield NO_WORKER
    for queue in figures:
        yield from _of_bound(queue)
        if living:
            yield from _of_queue(queue, served(living))
    for backend, count in died.items():
        if count > DEATHS:
            yield Problem(
                f"dead:{backend}",
                f"{count:,} jobs have died in the last hour. Look under Jobs at why; then retry or discard them.",
            )
    if living:
        for name, seconds in overdue.items():
            yield _of_plan(name, seconds, lock)


def deaths(now: datetime) -> dict[str, int]:
    """How many jobs were given up in the last hour, by backend. Raises RedisError."""
    backends = sorted({queue.backend.alias for queue in queues()})
    return {backend: dead_count(backend, since=now - timedelta(hours=1)) for backend in backends}


def overdue_plans(now: datetime, lock: HeldLock | None) -> dict[str, float]:
    """The plans that are late, by name, and for how many seconds. Raises DatabaseError."""
    known = PlannedJob.objects.in_bulk([plan.name for plan in plans()])
    late = {plan.name: overdue(plan, known.get(plan.name), now, lock) for plan in plans()}
    return {name: seconds for name, seconds in late.items() if seconds >= OVERDUE}


def overdue(plan: Plan, planned: PlannedJob | None, now: datetime, lock: HeldLock | None) -> float:
    """For how many seconds a plan has been due; 0 if it is not. One that skips what it has missed is not, once a
    scheduler has come back: it goes on with its next run."""
    if planned is None or planned.is_paused or (lock and plan.missed is Missed.SKIP):
        return 0.0
    return max(0.0, (now - plan.next_after(planned.last)).total_seconds())


def served(living: Sequence[Worker]) -> set[str]:
    """The names of the queues that some worker says it takes jobs from."""
    return {name for worker in living for name in worker.runs.get("queues", ())}


def is_slow(queue: QueueFigures) -> bool:
    """A paused one stands still because somebody wants it to."""
    return not queue.paused and queue.oldest is not None and queue.oldest >= SLOW


def _of_bound(queue: QueueFigures) -> Iterator[Problem]:
    share, name = 100 * queue.fullest / MOST, f"{queue.backend}:{queue.name}"
    if share >= FULL:
        yield Problem(
            f"queue-full:{name}",
            f"The queue {queue.name} is full ({queue.fullest:,} jobs of one priority, or scheduled). Further jobs are "
            "refused, or wait in the database. Look under Jobs; start more workers.",
        )
    elif share >= HIGH:
        yield Problem(
            f"queue-high:{name}",
            f"The queue {queue.name} is {share:.0f} % full ({queue.fullest:,} of {MOST:,} jobs of one priority, or "
            "scheduled). Look under Jobs; start more workers.",
        )


def _of_queue(queue: QueueFigures, served: set[str]) -> Iterator[Problem]:
    if queue.paused or queue.oldest is None:
        return
    if queue.name not in served:
        yield Problem(
            f"queue-idle:{queue.backend}:{queue.name}",
            f"No worker takes jobs from the queue {queue.name}, and some wait. Look under Jobs which queues the "
            "workers take from.",
        )
    elif is_slow(queue):
        yield Problem(
            f"queue-slow:{queue.backend}:{queue.name}",
            f"The queue {queue.name} does not keep up: {queue.waiting:,} jobs wait, the oldest for "
            f"{queue.oldest / 60:,.0f} minutes. Look under Jobs at what runs; start more workers.",
        )


def _of_plan(name: str, seconds: float, lock: HeldLock | None) -> Problem:
    holder = lock.holder if lock else None
    why = (
        f"the scheduler, in process {holder.pid} on {holder.host}, does not get on. Look at that worker's log."
        if holder
        else "no worker runs the scheduler. Start `manage.py worker` without --only-jobs."
    )
    return Problem(f"plan:{name}", f"The plan {name!r} has been due for {seconds / 60:,.0f} minutes: {why}")
