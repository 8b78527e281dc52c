"""What can be done to one job, from a list or from its own page."""

from collections.abc import Callable
from dataclasses import dataclass

from intellicolab.jobs import operations
from intellicolab.jobs.details import JobDetails, Where


@dataclass(frozen=True, slots=True)
class JobAction:
    """`meaning` says what is lost, and is asked about; without one it is done at once. `unchanged` says why it was not
    done."""

    name: str
    button: str
    done: str
    do: Callable[[str, str], bool]
    fits: tuple[Where, ...]
    unchanged: str
    meaning: str = ""
    is_for_unreadable: bool = False


CANCEL = JobAction(
    "cancel",
    "Cancel",
    "Cancelled",
    operations.cancel,
    (Where.OUTBOX, Where.WAITING, Where.RUNNING, Where.SCHEDULED, Where.RETRYING, Where.HELD),
    "it had ended already",
    "It will not run, and cannot be retried. If it runs now, it is interrupted; what it has done so far stays done.",
)
RUN_NOW = JobAction(
    "run",
    "Run now",
    "Sent to the workers",
    operations.run_now,
    (Where.SCHEDULED, Where.RETRYING),
    "it no longer waits for its time",
)
RETRY = JobAction(
    "retry",
    "Retry",
    "Retried",
    operations.retry,
    (Where.DEAD,),
    "it was left as it is. It is not dead any more, it cannot be read, or another one waits that must be the only one",
)
DISCARD = JobAction(
    "discard",
    "Discard",
    "Discarded",
    operations.discard,
    (Where.DEAD,),
    "it is not dead any more",
    "What it should have done will not be done, and its errors are forgotten. It cannot be retried any more.",
    is_for_unreadable=True,
)
ACTIONS = {action.name: action for action in (RUN_NOW, RETRY, CANCEL, DISCARD)}


def fitting(where: Where, is_readable: bool = True) -> list[JobAction]:
    """Those for a job that is there."""
    return [action for action in ACTIONS.values() if where in action.fits and (is_readable or action.is_for_unreadable)]


def fitting_job(job: JobDetails) -> list[JobAction]:
    return fitting(job.where, bool(job.payload.queue))
