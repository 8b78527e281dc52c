"""What a worker does with one queue in Redis: it joins, renews its lease, takes jobs and says what became of them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.exceptions import ResponseError

from intellicolab.redis import keys, scripts
from intellicolab.redis.client import Purpose, Role, async_client
from intellicolab.redis.direct import aask
from intellicolab.redis.missing import is_missing

from .payload import Payload, Place, UnreadableJob, decode
from .results import JobResult

KEPT_DEAD = 10_000  # jobs that were given up, the newest
MOST_PENDING = 1000  # entries in hand that are looked at; a worker has far fewer

_join, _renew, _take, _begin, _finish = (
    scripts.load(Path(__file__).parent, name) for name in ("join", "renew", "take", "begin", "finish")
)


Held = tuple[int, bytes]  # a priority, and an entry of its stream: one try of one job


class LeaseLost(RuntimeError):
    """The worker's lease has ended, because it stood still or could not reach Redis: its jobs are others' now."""

    def __init__(self, worker: str) -> None:
        super().__init__(f"{worker} has lost its lease.")
        self.worker = worker


@dataclass(frozen=True, slots=True)
class Taken:
    """A job in hand. `priority` and `entry` say where it lies; `begun` in µs; `state` is what it was in before."""

    id: str
    priority: int
    entry: bytes
    payload: Payload | None
    workers: list[str] = field(default_factory=list)
    errors: bytes | None = None
    begun: int = 0
    state: str = ""
    fault: UnreadableJob | None = None
    put_off: int = 0  # how often its rate made it wait

    @property
    def held(self) -> Held:
        return self.priority, self.entry


@dataclass(frozen=True, slots=True)
class Found:
    """`soonest`: seconds until the next scheduled job, if there is one. `paused`: nothing is to be had."""

    jobs: list[Taken]
    soonest: float | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of a job: `what`, `value`, `ms` as in finish.lua, and the result where somebody hears of it."""

    job: Taken
    what: str
    value: bytes = b""
    ms: int = 0
    result: JobResult | None = None
    error: BaseException | None = None


class Desk:
    """One queue of a backend, for one worker."""

    def __init__(self, backend: str, queue: str, worker: str, lease: float) -> None:
        self.backend, self.queue, self.worker, self.lease = backend, queue, worker, lease
        self._priorities: list[int] = []

    def _key(self, part: str) -> str:
        return keys.jobs_of(self.backend, self.queue, part)

    def _shared(self, part: str) -> str:
        return keys.jobs(self.backend, part)

    def _stream(self, priority: int) -> str:
        return keys.job_stream(self.backend, self.queue, priority)

    # --- The lease -------------------------------------------------------------------------------------------------

    async def join(self) -> None:
        await self._join(round(self.lease * 1000))

    async def leave(self) -> None:
        """What it has in hand is anybody's at once."""
        await self._join(0)

    async def _join(self, ms: int) -> None:
        found = [self._key(part) for part in ("workers", "gone", "bell")]
        await _join.call_async(async_client(Role.STATE), found, [self.worker, ms])

    async def renew(self, jobs: Sequence[str]) -> list[str]:
        """Those of its jobs that are to be cancelled. Raises LeaseLost, RedisError."""
        found = [self._key("workers"), self._shared("cancelled")]
        args: list[scripts.Argument] = [self.worker, round(self.lease * 1000), *jobs]
        held, cancelled = await _renew.call_async(async_client(Role.STATE), found, args)
        if not held:
            raise LeaseLost(self.worker)
        return [job.decode() for job in cancelled]

    # --- Taking ----------------------------------------------------------------------------------------------------

    async def _look_at_levels(self) -> None:
        """A priority that was used for the first time has a stream of its own."""
        found: Any = await async_client(Role.STATE).smembers(self._key("levels"))
        self._priorities = sorted(map(int, found), reverse=True)

    async def wait(self, seconds: float) -> None:
        """Until there may be something to take, and so long at most."""
        await aask(async_client(Role.STATE, Purpose.WAITING), "BLPOP", self._key("bell"), f"{max(seconds, 0.001):.3f}")

    async def take(self, most: int) -> Found:
        """Jobs to run now. Raises LeaseLost, RedisError."""
        what, entries, soonest = await self._take(most)
        while what == b"levels":
            await self._look_at_levels()
            what, entries, soonest = await self._take(most)
        if what == b"gone":
            raise LeaseLost(self.worker)
        jobs = await self._begin(entries) if entries else []
        return Found(jobs, None if soonest < 0 else soonest / 1000, what == b"paused")

    async def _take(self, most: int) -> Any:
        parts = [self._key(part) for part in ("workers", "gone", "scheduled", "retries", "bell")]
        streams = [self._stream(priority) for priority in self._priorities]
        found = [*parts, self._shared("paused"), self._key("levels"), *streams]
        args: list[scripts.Argument] = [self.worker, self.queue, most, *self._priorities]
        return await _take.call_async(async_client(Role.STATE), found, args)

    async def recover(self, in_hand: Collection[Held]) -> list[Taken]:
        """Jobs that are this worker's and of which it does not know: the answer that named them was lost.

        `in_hand` are those of which it knows. Raises LeaseLost, RedisError.
        """
        found: list[Any] = []
        for at, priority in enumerate(self._priorities):
            stream = self._stream(priority)
            for entry in await self._pending(stream):
                if (priority, entry) not in in_hand:
                    found += [(at, entry, fields[b"j"]) for _id, fields in await self._entry(stream, entry)]
        return await self._begin(found) if found else []

    async def _pending(self, stream: str) -> list[bytes]:
        try:
            pending: Any = await async_client(Role.STATE).xpending_range(
                stream, "workers", "-", "+", MOST_PENDING, self.worker
            )
        except ResponseError as error:
            if is_missing(error):
                return []  # the stream has had no worker yet
            raise
        return [one["message_id"] for one in pending]

    async def _entry(self, stream: str, entry: bytes) -> Any:
        return await async_client(Role.STATE).xrange(stream, entry, entry)

    async def _begin(self, entries: Sequence[Any]) -> list[Taken]:
        ids = [job_id.decode() for _at, _entry, job_id in entries]
        shared = [self._shared(part) for part in ("unique", "cancelled")]
        found = [self._key("workers"), *shared, *(keys.job(self.backend, job_id) for job_id in ids)]
        begun = await _begin.call_async(async_client(Role.STATE), found, [self.worker, *ids])
        if begun == 0:
            raise LeaseLost(self.worker)
        return [
            _taken(job_id, self._priorities[at], entry, fields)
            for (at, entry, _id), job_id, fields in zip(entries, ids, begun, strict=True)
        ]

    # --- Finishing -------------------------------------------------------------------------------------------------

    async def finish(self, endings: Iterable[Ending]) -> None:
        """Say what became of jobs; can be repeated. Raises LeaseLost, RedisError."""
        by_priority: dict[int, list[Ending]] = defaultdict(list)
        for ending in endings:
            by_priority[ending.job.priority].append(ending)
        for priority, some in by_priority.items():
            if not await _finish.call_async(async_client(Role.STATE), *self._finishing(priority, some)):
                raise LeaseLost(self.worker)

    def _finishing(self, priority: int, endings: Sequence[Ending]) -> tuple[list[str], list[scripts.Argument]]:
        batches: dict[Place, int] = {}
        args: list[scripts.Argument] = [self.worker, priority, KEPT_DEAD, len(endings)]
        for ending in endings:
            job, payload = ending.job, ending.job.payload
            batch = payload.batch if payload else None
            at = 0 if batch is None else batches.setdefault(batch, len(batches) + 1)
            unique = payload.unique if payload else ""
            args += [job.entry, job.id, ending.what, ending.value, ending.ms, unique, at]
        parts = [self._key(part) for part in ("scheduled", "retries", "bell")]
        shared = [self._shared(part) for part in ("cancelled", "unique", "dead")]
        records = [keys.job(self.backend, ending.job.id) for ending in endings]
        lasts = [key for batch in batches for key in self._last_job(batch)]
        return [self._key("workers"), self._stream(priority), *parts, *shared, *records, *lasts], args

    def _last_job(self, place: Place) -> list[str]:
        stream = keys.job_stream(self.backend, place.queue, place.priority)
        return [keys.job(self.backend, place.id), stream, keys.jobs_of(self.backend, place.queue, "bell")]


def _taken(job_id: str, priority: int, entry: bytes, fields: Any) -> Taken:
    if fields is None:
        return Taken(job_id, priority, entry, None)
    data, workers, errors, begun, state, put_off = fields
    payload, fault = None, None
    try:
        payload = decode(data)
    except UnreadableJob as error:
        fault = error
    names = workers.decode().split(",")
    return Taken(job_id, priority, entry, payload, names, errors, int(begun), state.decode(), fault, int(put_off))
