"""The lists of jobs: a page of 50, in a few bounded reads."""

from collections.abc import Callable
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from intellicolab.jobs import figures
from intellicolab.jobs.details import Where
from intellicolab.jobs.figures import JobRow, Listing, QueueFigures
from intellicolab.jobs.worker import Queue

from .job_actions import JobAction, fitting
from .queries import reason

Read = Callable[[Queue, str], Listing]
Count = Callable[[QueueFigures], int]


@dataclass(frozen=True, slots=True)
class Kind:
    """One of a queue's lists. `empty` is what is said where there is nothing, `at` heads the column of the time."""

    name: str
    title: str
    where: Where
    read: Read
    count: Count
    empty: str
    at: str


WAITING = Kind(
    "waiting",
    "Waiting",
    Where.WAITING,
    figures.waiting,
    lambda queue: queue.waiting,
    "No job waits for a worker.",
    "Enqueued",
)
RUNNING = Kind(
    "running", "Running", Where.RUNNING, figures.running, lambda queue: queue.running, "No job runs.", "Begun"
)
SCHEDULED = Kind(
    "scheduled",
    "Scheduled",
    Where.SCHEDULED,
    figures.scheduled,
    lambda queue: queue.scheduled,
    "No job waits for its time.",
    "Due",
)
RETRYING = Kind(
    "retrying",
    "Retrying",
    Where.RETRYING,
    figures.retrying,
    lambda queue: queue.retrying,
    "No job waits for another try.",
    "Next try",
)
KINDS = {kind.name: kind for kind in (WAITING, RUNNING, SCHEDULED, RETRYING)}


@dataclass(frozen=True, slots=True)
class ListedJob:
    job: JobRow
    actions: list[JobAction]


@dataclass(slots=True)
class JobList:
    """`count` is that of all; `after` leads to the next page, "" if this is the last."""

    name: str
    at: str
    empty: str
    count: int = 0
    tabs: list[tuple[Kind, int]] = field(default_factory=list)
    jobs: list[ListedJob] = field(default_factory=list)
    after: str = ""
    error: str = ""  # why Redis tells nothing

    def add(self, found: Listing, where: Where) -> None:
        self.jobs = [ListedJob(job, _actions(job, where)) for job in found]
        self.after = found.after


def queue_list(queue: Queue, kind: Kind, after: str) -> JobList:
    """Raises ValueError for an `after` that no page has."""
    page = JobList(kind.name, kind.at, kind.empty)
    try:
        state = figures.queue_figures(queue)
        page.tabs = [(each, each.count(state)) for each in KINDS.values()]
        page.count = kind.count(state)
        page.add(kind.read(queue, after), kind.where)
    except (RedisError, OSError) as error:
        page.error = reason(error)
    return page


def dead_list(backend: str, after: str) -> JobList:
    """Raises as `queue_list`."""
    page = JobList("dead", "Died", "No job is dead: none has failed in all its tries and waits for a decision.")
    try:
        page.count = figures.dead_count(backend)
        page.add(figures.dead(backend, after), Where.DEAD)
    except (RedisError, OSError) as error:
        page.error = reason(error)
    return page


def _actions(job: JobRow, where: Where) -> list[JobAction]:
    return fitting(Where.ENDING if job.state == "cancelled" else where, bool(job.queue))
