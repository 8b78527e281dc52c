"""What an administrator does to jobs and queues. Each raises RedisError, and says whether it found what it was for."""

from datetime import datetime
from pathlib import Path
from typing import Any

from django_tasks import task_backends

from intellicolab.redis import keys, scripts
from intellicolab.redis.client import Role, client

from .models import PausedQueue
from .payload import Payload, UnreadableJob, decode, to_us
from .running import FAILED_MS
from .store import Store

_revive = scripts.load(Path(__file__).parent, "revive")
_hurry = scripts.load(Path(__file__).parent, "hurry")


def cancel(backend: str, job_id: str) -> bool:
    """Have a job end, as the backend does; not one whose record cannot be read, of which nobody knows where it is."""
    try:
        return bool(task_backends[backend].cancel(job_id))
    except UnreadableJob:
        return False


def retry(backend: str, job_id: str) -> bool:
    """Have a dead job begin anew, with all its tries. Not one in whose place another unique one waits."""
    payload = _payload(backend, job_id)
    if payload is None:
        return False
    found = [
        keys.job(backend, job_id),
        keys.jobs(backend, "dead"),
        keys.job_stream(backend, payload.queue, payload.priority),
        keys.jobs_of(backend, payload.queue, "bell"),
        keys.jobs(backend, "unique"),
    ]
    if payload.batch is not None:
        found.append(keys.job(backend, payload.batch.id))
    return bool(_revive(client(Role.STATE), found, [job_id, payload.unique]) == b"ok")


def discard(backend: str, job_id: str) -> bool:
    """Forget a dead job and its errors."""
    state: Any = client(Role.STATE)
    if not state.zrem(keys.jobs(backend, "dead"), job_id):
        return False
    state.unlink(keys.job(backend, job_id))
    return True


def run_now(backend: str, job_id: str) -> bool:
    """Have a scheduled job, or one that waits for its next try, run as soon as a worker is free."""
    payload = _payload(backend, job_id)
    if payload is None:
        return False
    parts = [keys.jobs_of(backend, payload.queue, part) for part in ("scheduled", "retries")]
    stream = keys.job_stream(backend, payload.queue, payload.priority)
    found = [*parts, stream, keys.jobs_of(backend, payload.queue, "bell")]
    return bool(_hurry(client(Role.STATE), found, [job_id, payload.priority]))


def pause(backend: str, queue: str) -> bool:
    """Have no job of a queue begin, on any worker, until it is resumed. What runs goes on. Whether that is news."""
    _row, fresh = PausedQueue.objects.get_or_create(backend=backend, queue=queue)
    return bool(client(Role.STATE).sadd(keys.jobs(backend, "paused"), queue)) or fresh  # a worker may have been faster


def resume(backend: str, queue: str) -> bool:
    rows, _by_model = PausedQueue.objects.filter(backend=backend, queue=queue).delete()
    return bool(client(Role.STATE).srem(keys.jobs(backend, "paused"), queue)) or rows > 0


def keep_pause(backend: str, queue: str) -> None:
    """Tell Redis, which may have lost it, that a queue is paused. Raises RedisError, DatabaseError.

    Who pauses or resumes it at this moment may have told Redis before: the row is asked until it says what was told.
    """
    rows, state = PausedQueue.objects.filter(backend=backend, queue=queue), client(Role.STATE)
    paused = False
    while rows.exists() != paused:
        paused = not paused
        tell = state.sadd if paused else state.srem
        tell(keys.jobs(backend, "paused"), queue)


def dead_until(backend: str, until: datetime, passed: int, count: int) -> list[str]:
    """The jobs that have been dead since a moment, the earliest first, after so many that were left as they are. Not
    those of which nothing is known any more: only the next death clears them away."""
    name, last = keys.jobs(backend, "dead"), to_us(until) // 1000
    found: Any = client(Role.STATE).zrangebyscore(name, last - FAILED_MS, last, passed, count)
    return [job_id.decode() for job_id in found]


def _payload(backend: str, job_id: str) -> Payload | None:
    _found, record = Store(backend).record(job_id)
    try:
        return decode(record[b"d"])
    except (KeyError, UnreadableJob):
        return None
