"""How far an export is: the row's word where there is a file, else that of its job."""

from dataclasses import dataclass

from django_tasks import TaskResultStatus, default_task_backend
from django_tasks.exceptions import TaskResultDoesNotExist
from django_tasks.utils import get_module_path
from redis.exceptions import RedisError

from intellicolab.jobs.errors import JobCancelled, TimeLimitExceeded
from intellicolab.jobs.results import JobResult
from realtime.models import Export

from .errors import DiskFull

WAITING, RUNNING, CANCELLING, CANCELLED, FAILED, READY, OVER, UNTOLD = (
    "waiting running cancelling cancelled failed ready over untold".split()
)
# In which it changes by itself.
MOVING = frozenset({WAITING, RUNNING, CANCELLING, UNTOLD})

REASONS = {
    get_module_path(DiskFull): (
        "The disk of the server is full, so the file could not be kept. Ask an administrator to make room, then try "
        "again."
    ),
    get_module_path(TimeLimitExceeded): "It took longer than it may take. Try again when the server has less to do.",
}
UNNAMED = "Something went wrong on the server. Try again; if it fails again, ask an administrator to look at its log."
LOST = "The server has lost it, for example because it was restarted. Try again."


@dataclass(frozen=True, slots=True)
class Standing:
    """`percent` and `doing` are known of what runs, `reason` of what failed."""

    state: str
    percent: int = 0
    doing: str = ""
    reason: str = ""

    @property
    def is_moving(self) -> bool:
        return self.state in MOVING


def standing_of(export: Export) -> Standing:
    """Never raises: while Redis is away, what is not in the row can't be told."""
    if export.file:
        return Standing(OVER if export.is_over else READY)
    try:
        result = default_task_backend.get_result(export.job_id)
    except TaskResultDoesNotExist:
        return Standing(CANCELLED) if export.cancelled_at else Standing(FAILED, reason=LOST)
    except (RedisError, OSError):
        return Standing(UNTOLD)
    return _ended(export, result) if result.is_finished else _under_way(export, result)


def _under_way(export: Export, result: JobResult) -> Standing:
    if export.cancelled_at is not None:
        return Standing(CANCELLING)
    if result.status != TaskResultStatus.RUNNING:
        return Standing(WAITING)
    if result.progress is None:
        return Standing(RUNNING)
    return Standing(RUNNING, int(result.progress.percent), result.progress.note)


def _ended(export: Export, result: JobResult) -> Standing:
    last = result.errors[-1].exception_class_path if result.errors else ""
    if export.cancelled_at is not None or last == get_module_path(JobCancelled):
        return Standing(CANCELLED)
    return Standing(FAILED, reason=REASONS.get(last, UNNAMED))
