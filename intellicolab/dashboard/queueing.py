"""The page Jobs: the queues, the plans, who works, and what has died."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.utils import timezone
from redis.exceptions import RedisError

from intellicolab.jobs import problems as watched
from intellicolab.jobs import scheduler
from intellicolab.jobs.figures import QueueFigures, dead_count, queue_figures
from intellicolab.jobs.worker import Queue, queues
from intellicolab.redis.heartbeat import Worker, workers
from intellicolab.redis.lock import held

from . import journal
from .figures import age, compact
from .job_plans import PlanRow, plan_rows
from .pages import Page
from .queries import reason
from .tiles import Tile
from .workers import WorkerRow

AREA = "jobs"  # of the journal


@dataclass(frozen=True, slots=True)
class QueueRow:
    """`figures` is None while Redis is away."""

    queue: Queue
    figures: QueueFigures | None = None
    is_served: bool = False

    @property
    def backend(self) -> str:
        return self.queue.backend.alias

    @property
    def name(self) -> str:
        return self.queue.name

    @property
    def oldest(self) -> str:
        return age(self.figures.oldest if self.figures else None, "nothing waits")

    @property
    def is_slow(self) -> bool:
        return self.figures is not None and watched.is_slow(self.figures)


@dataclass(frozen=True, slots=True)
class Died:
    """Of one backend: how many jobs are dead, and how many of them for less than an hour."""

    backend: str
    count: int
    lately: int


@dataclass(slots=True)
class JobsPage(Page):
    queues: list[QueueRow] = field(default_factory=list)
    dead: list[Died] = field(default_factory=list)
    plans: list[PlanRow] = field(default_factory=list)

    @property
    def has_many_backends(self) -> bool:
        return len({row.backend for row in self.queues}) > 1


def jobs_page() -> JobsPage:
    """Everything on the page; while Redis is away, what the code and the database know."""
    page = JobsPage(timezone.now())
    try:
        _add_redis(page)
    except (RedisError, OSError) as error:
        page.error = reason(error)
        page.problems = [
            f"Redis state: {page.error}. No job runs until it is back; what is enqueued meanwhile waits in the "
            "database."
        ]
        page.queues = [QueueRow(queue) for queue in queues()]
    page.plans = plan_rows(page.made_at, page.lock)
    page.journal = journal.latest(AREA)
    return page


def _add_redis(page: JobsPage) -> None:
    """Raises RedisError, and has added nothing then but what is replaced."""
    living, chosen, now = workers(), queues(), page.made_at
    found, died = [queue_figures(queue) for queue in chosen], watched.deaths(now)
    lock = page.lock = held(scheduler.NAME)
    page.dead = [Died(backend, dead_count(backend), lately) for backend, lately in died.items()]
    told = watched.problems(found, living, died, watched.overdue_plans(now, lock), lock)
    page.problems = [problem.sentence for problem in told]
    page.workers = [WorkerRow(worker) for worker in living]
    page.queues = _queue_rows(chosen, found, living)
    page.tiles = [_oldest_tile(found), *_count_tiles(found), _dead_tile(page.dead)]


def _queue_rows(chosen: Sequence[Queue], found: Sequence[QueueFigures], living: Sequence[Worker]) -> list[QueueRow]:
    served = watched.served(living)
    return [QueueRow(queue, figures, queue.name in served) for queue, figures in zip(chosen, found, strict=True)]


# --- Tiles ---------------------------------------------------------------------------------------------------------


def _oldest_tile(found: Sequence[QueueFigures]) -> Tile:
    oldest = max(found, key=lambda queue: queue.oldest or 0.0, default=None)
    waits = oldest is not None and oldest.oldest is not None
    return Tile(
        "Oldest waiting job",
        age(oldest.oldest) if oldest else "none",
        exact=f"{oldest.oldest:,.0f} s" if oldest and oldest.oldest is not None else "",
        note=f"in {oldest.name}" if oldest and waits else "nothing waits for a worker",
        bounds=f"below {age(watched.SLOW)}",
        problem=any(watched.is_slow(queue) for queue in found),
    )


def _count_tiles(found: Sequence[QueueFigures]) -> list[Tile]:
    return [
        _count_tile("Waiting", sum(queue.waiting for queue in found), "for a worker"),
        _count_tile("Running", sum(queue.running for queue in found), "workers have them in hand"),
        _count_tile("Scheduled", sum(queue.scheduled for queue in found), "for a later time"),
        _count_tile("Retrying", sum(queue.retrying for queue in found), "have failed and are tried again"),
    ]


def _count_tile(label: str, count: int, note: str) -> Tile:
    return Tile(label, compact(count), exact=f"{count:,}", note=note)


def _dead_tile(died: Sequence[Died]) -> Tile:
    count, lately = sum(each.count for each in died), sum(each.lately for each in died)
    return Tile(
        "Dead",
        compact(count),
        exact=f"{count:,}",
        note=f"{lately:,} of them in the last hour" if count else "no job has been given up",
        bounds=f"{watched.DEATHS} an hour at most",
        problem=any(each.lately > watched.DEATHS for each in died),
    )
