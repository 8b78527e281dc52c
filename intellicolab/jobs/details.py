"""Everything about one job, also where the code of its task has gone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
from django.utils import timezone

from intellicolab.redis import keys
from intellicolab.redis.client import Role, client

from . import carrier
from .payload import Payload, Place, UnreadableJob, decode, from_us
from .results import Counts, Progress, StoredError, counts_in, errors_in, progress_in
from .store import Store

MOST_SHOWN = 2000  # characters of an argument, or of the result


class Where(StrEnum):
    """Where a job is, in words."""

    OUTBOX = "in the outbox"  # its transaction has committed, or Redis was away; the relay brings it
    HELD = "waits for its batch"
    SCHEDULED = "waits for its time"
    RETRYING = "waits for its next try"
    WAITING = "waits for a worker"
    RUNNING = "runs"
    ENDING = "is cancelled, as soon as a worker is free"
    DONE = "done"
    DEAD = "dead"
    FAILED = "failed"  # cancelled, or no longer among the dead that are kept


@dataclass(frozen=True, slots=True)
class JobDetails:
    """`due` is when it is taken or tried again, `forgotten` when its record goes. A job whose record cannot be read has
    no queue."""

    id: str
    where: Where
    payload: Payload
    due: datetime | None = None
    begun: datetime | None = None
    latest: datetime | None = None  # of its tries
    finished: datetime | None = None
    forgotten: datetime | None = None
    workers: Sequence[str] = ()
    errors: Sequence[StoredError] = ()
    progress: Progress | None = None
    result: str = ""
    batch: Counts | None = None
    arguments: Sequence[tuple[str, str]] = field(default=())

    @property
    def task(self) -> str:
        return self.payload.path

    @property
    def enqueued(self) -> datetime | None:
        return from_us(self.payload.enqueued or None)

    @property
    def then(self) -> Place | None:
        """The last job of its batch."""
        return self.payload.batch


UNREADABLE = Payload("unreadable", "", 0, [], {}, 0)


def details(backend: str, job_id: str) -> JobDetails | None:
    """None if there is no such job, any more. Of the unique one in its place, where there is one. Raises RedisError."""
    store = Store(backend)
    found, record = store.record(job_id)
    if not record and (waiting := _in_outbox(backend, job_id)) is not None:
        return waiting
    if not record:
        found, record = store.record(job_id)  # it may have been carried between the two looks
    return _recorded(backend, found, record) if record else None


def _recorded(backend: str, job_id: str, record: Mapping[bytes, bytes]) -> JobDetails:
    payload = readable(record)
    scores = _scores(backend, job_id, payload)
    due = next((from_us(int(score * 1000)) for score in scores[:2] if score is not None), None)
    return JobDetails(
        id=job_id,
        where=_where(record, *scores[:3]),
        payload=payload,
        due=due,
        begun=from_us(record.get(b"b")),
        latest=from_us(record.get(b"l")),
        finished=from_us(record.get(b"f")),
        forgotten=timezone.now() + timedelta(seconds=scores[3]) if scores[3] >= 0 else None,
        workers=record[b"w"].decode().split(",") if record.get(b"w") else [],
        errors=errors_in(record.get(b"e")),
        progress=progress_in(record),
        result=cut(record.get(b"r", b"").decode(errors="replace"), MOST_SHOWN),
        batch=counts_in(payload, record),
        arguments=arguments(payload, MOST_SHOWN),
    )


def readable(record: Mapping[bytes, bytes]) -> Payload:
    """What a record says that the job is, or `UNREADABLE`."""
    try:
        return decode(record[b"d"])
    except (KeyError, UnreadableJob):
        return UNREADABLE


def arguments(payload: Payload, most: int) -> list[tuple[str, str]]:
    """By name, those without one under "", as JSON of at most so many characters each."""
    named = [("", value) for value in payload.args] + list(payload.kwargs.items())
    return [(name, cut(msgspec.json.encode(value).decode(), most)) for name, value in named]


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _in_outbox(backend: str, job_id: str) -> JobDetails | None:
    try:
        job = carrier.waiting(backend, job_id)
    except UnreadableJob:
        return JobDetails(job_id, Where.OUTBOX, UNREADABLE)
    if job is None:
        return None
    payload = job.payload
    return JobDetails(
        job_id, Where.OUTBOX, payload, due=from_us(payload.run_after), arguments=arguments(payload, MOST_SHOWN)
    )


def _scores(backend: str, job_id: str, payload: Payload) -> list[Any]:
    """When it is due, by the schedule or as a try; when it died; for how many seconds it is kept."""
    pipeline = client(Role.STATE).pipeline(transaction=False)
    for part in ("scheduled", "retries"):
        pipeline.zscore(keys.jobs_of(backend, payload.queue, part), f"{job_id}:{payload.priority}")
    pipeline.zscore(keys.jobs(backend, "dead"), job_id)
    pipeline.ttl(keys.job(backend, job_id))
    return pipeline.execute()


_STATES = {
    b"held": Where.HELD,
    b"running": Where.RUNNING,
    b"done": Where.DONE,
    b"cancelled": Where.ENDING,
}


def _where(record: Mapping[bytes, bytes], due: float | None, tried: float | None, died: float | None) -> Where:
    state = record.get(b"s", b"")
    if state == b"failed":
        return Where.FAILED if died is None else Where.DEAD
    if state == b"ready" and due is not None:
        return Where.SCHEDULED
    if state == b"ready" and tried is not None:
        return Where.RETRYING
    return _STATES.get(state, Where.WAITING)
