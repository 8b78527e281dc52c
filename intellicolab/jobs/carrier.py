"""From the outbox to the queues: what is enqueued in a transaction is a row, and after the commit the relay brings it.

Redis remembers the position of the last row that it took, in the same script that takes it: so a relay that died, or an
answer that was lost, is a repetition that changes nothing.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.utils import timezone
from django_tasks import task_backends

from intellicolab.events.carriers import carries
from intellicolab.events.models import DeadLetter, OutboxRow
from intellicolab.events.outbox import NewRow, NumberedRow, insert
from intellicolab.events.streams import EntriesLost, StreamFull

from .errors import QueueFull
from .payload import UnreadableJob, decode
from .store import Carrying, NewJob, PositionLost, Store, portions

PREFIX = "jobs."


def emit(backend: str, jobs: Iterable[NewJob]) -> None:
    """Enqueue jobs together with what the caller's transaction changes, or as one by themselves."""
    now = timezone.now()
    insert(NewRow(PREFIX + backend, job.id, 1, job.data.decode(), now) for job in jobs)


def waiting(backend: str, job_id: str) -> NewJob | None:
    """A job that is still in the outbox, for who asks for it before it has been carried. Raises RedisError."""
    row = OutboxRow.objects.filter(stream=PREFIX + backend, name=job_id).first()
    if row is None or (row.position is not None and row.position <= Store(backend).carried()):
        return None  # rows stay for a while: the job may have run since, and been forgotten
    return NewJob(job_id, decode(row.data))


@carries(PREFIX)
class JobCarrier:
    """Rows are kept for a minute: what a failover loses are seconds, and a job that ran would be run again."""

    kept = timedelta(minutes=1)

    def streams(self) -> Iterable[str]:
        return [PREFIX + backend.alias for backend in task_backends.all() if hasattr(backend, "store")]

    def last_position(self, stream: str) -> int:
        return _store(stream).carried()

    def append(self, stream: str, rows: Sequence[NumberedRow], after: int, fence: int) -> int:
        """Raises StaleFence, EntriesLost, StreamFull, RedisError."""
        for some in portions(rows, lambda row: len(row.data)):
            after = _carry(stream, some, after, fence)
        return after

    def sweep(self, stream: str) -> None:
        """Jobs that have ended are gone already."""


def _carry(stream: str, rows: Sequence[NumberedRow], after: int, fence: int) -> int:
    """Redis remembers the last row even where none of them could be read, or they would come again for ever."""
    jobs = [job for row in rows if (job := _job(stream, row)) is not None]
    upto = rows[-1].position
    try:
        _store(stream).add(jobs, Carrying(after, upto, fence))
    except PositionLost as lost:
        raise EntriesLost(lost.last) from lost
    except QueueFull as full:
        raise StreamFull(str(full)) from full
    return upto


def _job(stream: str, row: NumberedRow) -> NewJob | None:
    """What cannot be read must not hold up what follows: it becomes a dead letter."""
    try:
        return NewJob(row.name, decode(row.data), row.position)
    except UnreadableJob as error:
        found = {"name": row.name, "version": row.version, "data": row.data, "reason": str(error), "tries": 1}
        DeadLetter.objects.get_or_create(group="jobs", stream=stream, position=row.position, defaults=found)
        return None


def _store(stream: str) -> Store:
    return task_backends[stream.removeprefix(PREFIX)].store
