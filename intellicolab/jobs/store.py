"""The jobs of one backend in Redis: what enqueues, finds, cancels and steers them. Workers use `desk.py`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from intellicolab.redis import keys, scripts
from intellicolab.redis.client import Role, async_client, client
from intellicolab.redis.fence import StaleFence

from .errors import QueueFull
from .payload import Payload, decode, encode

# A queue's jobs of one priority, and those of all priorities that are scheduled. A small one takes 600 bytes with its
# record: what nobody runs fills 600 MB at most, as often.
MOST = 1_000_000
AT_ONCE = 500  # jobs that one script stores: it holds up the server for some milliseconds
MOST_SENT = 4_000_000  # bytes of them, unless one alone has more: sent and stored in a fraction of the time-out

T = TypeVar("T")

HELD = -1  # until all of its batch have ended

_enqueue = scripts.load(Path(__file__).parent, "enqueue")
_cancel = scripts.load(Path(__file__).parent, "cancel")


@dataclass(frozen=True, slots=True)
class Carrying:
    """That the jobs come from rows of the outbox, which follow a position. Some rows up to the last may be no jobs."""

    after: int
    upto: int
    fence: int


class PositionLost(RuntimeError):
    """Redis has carried less than is believed: it was emptied, or a failover has lost what was newest."""

    def __init__(self, last: int) -> None:
        super().__init__(f"The last row that was carried is {last}.")
        self.last = last


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be stored; `position` is that of its row in the outbox."""

    id: str
    payload: Payload
    position: int = 0
    data: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", encode(self.payload))

    @property
    def due(self) -> int:
        """In ms since 1970; 0 where it may begin at once."""
        if self.payload.left >= 0:
            return HELD
        return (self.payload.run_after or 0) // 1000


@dataclass(slots=True)
class _Call:
    """The keys and arguments of one script call: a route for each queue and priority, and the jobs."""

    backend: str
    routes: dict[tuple[str, int], int] = field(default_factory=dict)
    records: list[str] = field(default_factory=list)
    args: list[scripts.Argument] = field(default_factory=list)

    def add(self, job: NewJob) -> None:
        payload = job.payload
        route = self.routes.setdefault((payload.queue, payload.priority), len(self.routes))
        self.records.append(keys.job(self.backend, job.id))
        self.args += [route, job.id, job.data, job.due, payload.unique, payload.left, job.position]

    def keys(self) -> list[str]:
        shared = [keys.jobs(self.backend, part) for part in ("unique", "carried", "fence", "cancelled")]
        routes = [key for queue, priority in self.routes for key in _route(self.backend, queue, priority)]
        return [*shared, *routes, *self.records]

    def arguments(self, carrying: Carrying | None) -> list[scripts.Argument]:
        rows = (carrying.fence, carrying.after, carrying.upto) if carrying else (0, 0, 0)
        priorities = [priority for _queue, priority in self.routes]
        return [len(self.routes), *rows, MOST, *priorities, *self.args]


def _route(backend: str, queue: str, priority: int) -> list[str]:
    parts = [keys.jobs_of(backend, queue, part) for part in ("scheduled", "levels", "bell")]
    return [keys.job_stream(backend, queue, priority), *parts]


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of jobs: the last position that was carried, and whose each job is, by id."""

    last: int
    ids: list[str]


class Store:
    """The jobs of the backend of one alias."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    # --- Enqueueing ------------------------------------------------------------------------------------------------

    def add(self, jobs: Sequence[NewJob], carrying: Carrying | None = None) -> Stored:
        """Store at most `AT_ONCE` jobs, all or none; those that are there already are left as they are.

        Raises QueueFull, StaleFence, PositionLost, RedisError.
        """
        call = self._call(jobs)
        return _stored(_enqueue(client(Role.STATE), call.keys(), call.arguments(carrying)))

    async def aadd(self, jobs: Sequence[NewJob]) -> Stored:
        """As `add`, on the running event loop."""
        call = self._call(jobs)
        return _stored(await _enqueue.call_async(async_client(Role.STATE), call.keys(), call.arguments(None)))

    def _call(self, jobs: Sequence[NewJob]) -> _Call:
        call = _Call(self.backend)
        for job in jobs:
            call.add(job)
        return call

    def carried(self) -> int:
        """The position of the last row of the outbox that is here. Raises RedisError."""
        found: Any = client(Role.STATE).get(keys.jobs(self.backend, "carried"))
        return int(found or 0)

    # --- Finding ---------------------------------------------------------------------------------------------------

    def record(self, job_id: str) -> tuple[str, Mapping[bytes, bytes]]:
        """(id, fields) of a job, or of the unique one in its place; no fields if there is none. Raises RedisError."""
        found: Any = client(Role.STATE).hgetall(keys.job(self.backend, job_id))
        if b"same" in found:
            return self.record(found[b"same"].decode())
        return job_id, found

    async def arecord(self, job_id: str) -> tuple[str, Mapping[bytes, bytes]]:
        found: Any = await async_client(Role.STATE).hgetall(keys.job(self.backend, job_id))
        if b"same" in found:
            return await self.arecord(found[b"same"].decode())
        return job_id, found

    # --- Cancelling ------------------------------------------------------------------------------------------------

    def cancel(self, job_id: str, record: Mapping[bytes, bytes], errors: bytes) -> str:
        """Have a job end; the state that it was in, or "". Raises UnreadableJob, RedisError."""
        answer: bytes = _cancel(client(Role.STATE), *self._cancelling(job_id, record, errors))
        return answer.decode()

    async def acancel(self, job_id: str, record: Mapping[bytes, bytes], errors: bytes) -> str:
        answer: bytes = await _cancel.call_async(async_client(Role.STATE), *self._cancelling(job_id, record, errors))
        return answer.decode()

    def ask_to_cancel(self, job_id: str) -> None:
        """Who carries the job, or begins it, finds that it is to end. Raises RedisError."""
        client(Role.STATE).sadd(keys.jobs(self.backend, "cancelled"), job_id)

    def _cancelling(
        self, job_id: str, record: Mapping[bytes, bytes], errors: bytes
    ) -> tuple[list[str], list[scripts.Argument]]:
        payload = decode(record[b"d"])
        parts = [keys.jobs_of(self.backend, payload.queue, part) for part in ("scheduled", "retries")]
        found = [keys.job(self.backend, job_id), keys.jobs(self.backend, "cancelled"), *parts]
        stream = keys.job_stream(self.backend, payload.queue, payload.priority)
        bell = keys.jobs_of(self.backend, payload.queue, "bell")
        unique = keys.jobs(self.backend, "unique")
        return [*found, stream, bell, unique], [job_id, payload.priority, errors, payload.unique]


def portions(items: Sequence[T], size: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """What one script stores of jobs, which have so many bytes each."""
    start = sent = 0
    for at, item in enumerate(items):
        if at - start == AT_ONCE or (at > start and sent + size(item) > MOST_SENT):
            yield items[start:at]
            start, sent = at, 0
        sent += size(item)
    if items:
        yield items[start:]


def _stored(answer: Any) -> Stored:
    what, last, ids = answer[0], int(answer[1]), answer[2] if len(answer) > 2 else ()
    if what == b"stale":
        raise StaleFence("Another relay has carried jobs since: the lock of this one has gone.")
    if what == b"lost":
        raise PositionLost(last)
    if what == b"full":
        raise QueueFull(f"A queue holds {MOST:,} jobs. Start more workers, or discard what is not needed.")
    return Stored(last, [one.decode() for one in ids])
