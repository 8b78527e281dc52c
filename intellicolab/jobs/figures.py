"""What there is to see of queues and jobs, in bounded reads: whoever looks must not hold up whoever works."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.utils import timezone

from intellicolab.redis import keys
from intellicolab.redis.client import Role, client
from intellicolab.redis.missing import answered

from .details import arguments, readable
from .payload import EPOCH, MICROSECOND, Payload, from_us, to_us
from .results import Progress, errors_in, progress_in
from .running import FAILED_MS
from .worker import Queue

PAGE = 50


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """Of one queue. `oldest` is for how many seconds that job has waited that could run for longest, `fullest` how many
    jobs its fullest priority holds, or are scheduled, of `store.MOST`."""

    backend: str
    name: str
    waiting: int
    running: int
    scheduled: int
    retrying: int
    workers: int
    paused: bool
    oldest: float | None
    fullest: int


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job in a list. `at` is when it was given up or is due, as the list has it; `begun` when its last try began.

    A job whose record cannot be read has no queue.
    """

    id: str
    task: str
    queue: str
    priority: int
    arguments: str
    state: str
    tries: int
    enqueued: datetime | None
    begun: datetime | None = None
    at: datetime | None = None
    worker: str = ""
    error: str = ""
    progress: Progress | None = None


class Listing(list[JobRow]):
    """A page of a list; `after` has the next one follow, and is empty where there is none. Jobs that end while they are
    read are left out."""

    after = ""


class _Found(NamedTuple):
    """A job of a list: where the list goes on after it, and when it was given up or is due."""

    place: str
    id: str
    at: datetime | None = None


def queue_figures(queue: Queue) -> QueueFigures:
    """Raises RedisError."""
    backend, name = queue.backend.alias, queue.name
    streams = [level.stream for level in _levels(backend, name)]
    lengths, groups, (scheduled, retrying, workers, paused, *first) = _counts(backend, name, streams)
    running = sum(group["pending"] for group in groups if group)
    ages = [*_ages(streams, groups), *(_age(score) for found in first for _member, score in found)]
    return QueueFigures(
        backend=backend,
        name=name,
        waiting=max(0, sum(lengths) - running),  # the lengths were read first: more may run by now
        running=running,
        scheduled=scheduled,
        retrying=retrying,
        workers=workers,
        paused=bool(paused),
        oldest=max((each for each in ages if each >= 0), default=None),
        fullest=max([scheduled, *lengths]),
    )


def dead_count(backend: str, since: datetime | None = None, until: datetime | None = None) -> int:
    """How many were given up, and were still known at the later one, between two moments. Raises RedisError."""
    kept = _kept(until)
    first, last = _ms(max(since, kept) if since else kept), _ms(until) if until else "+inf"
    return int(client(Role.STATE).zcount(keys.jobs(backend, "dead"), first, last))


def dead(backend: str, after: str = "", count: int = PAGE) -> Listing:
    """The newest first."""
    start, last = _offset(after), _ms(_kept())
    found: Any = client(Role.STATE).zrevrangebyscore(
        keys.jobs(backend, "dead"), "+inf", last, start, count + 1, withscores=True
    )
    return _listing(backend, _numbered(start, [(job_id.decode(), score) for job_id, score in found]), count)


def scheduled(queue: Queue, after: str = "", count: int = PAGE) -> Listing:
    """Those that wait for their time, the next first."""
    return _by_time(queue, "scheduled", after, count)


def retrying(queue: Queue, after: str = "", count: int = PAGE) -> Listing:
    """Those that have failed and wait for their next try, the next first."""
    return _by_time(queue, "retries", after, count)


def running(queue: Queue, after: str = "", count: int = PAGE) -> Listing:
    """Those that workers have in hand, of each priority those that were enqueued first."""
    levels = _levels(queue.backend.alias, queue.name, after)
    pipeline = client(Role.STATE).pipeline(transaction=False)
    for level in levels:
        pipeline.xpending_range(level.stream, "workers", f"({level.entry}", "+", count + 1)
    answers = pipeline.execute(raise_on_error=False)
    pending = [
        (level, entry["message_id"])
        for level, entries in zip(levels, answers, strict=True)
        for entry in answered(entries) or ()
    ][: count + 1]
    for level, entry in pending:
        pipeline.xrange(level.stream, entry, entry)
    found = [(level, entries) for (level, _entry), entries in zip(pending, pipeline.execute(), strict=True)]
    return _listing(queue.backend.alias, _entered(found), count)


def waiting(queue: Queue, after: str = "", count: int = PAGE) -> Listing:
    """Those that any worker may take, the next first."""
    levels = _levels(queue.backend.alias, queue.name, after)
    pipeline = client(Role.STATE).pipeline(transaction=False)
    for level, group in zip(levels, _groups([level.stream for level in levels]), strict=True):
        pipeline.xrange(level.stream, f"({max(level.entry, _delivered(group), key=_parts)}", "+", count + 1)
    found = list(zip(levels, pipeline.execute(), strict=True))
    return _listing(queue.backend.alias, _entered(found)[: count + 1], count)


# --- Places in lists -----------------------------------------------------------------------------------------------


class _Level(NamedTuple):
    """The jobs of one priority: a stream, from the entry after `entry` on."""

    priority: int
    stream: str
    entry: str = "0-0"


def _levels(backend: str, queue: str, after: str = "") -> list[_Level]:
    """By falling priority, as they are taken. Raises ValueError for what is no place."""
    known: Any = client(Role.STATE).smembers(keys.jobs_of(backend, queue, "levels"))
    found = [_Level(level, keys.job_stream(backend, queue, level)) for level in sorted(map(int, known), reverse=True)]
    if not after:
        return found
    priority, place = after.split("/")
    entry = "{}-{}".format(*_parts(place))
    rest = [level for level in found if level.priority <= int(priority)]
    return [level._replace(entry=entry) if level.priority == int(priority) else level for level in rest]


def _parts(entry: str) -> tuple[int, int]:
    ms, number = entry.split("-")
    return _bounded(ms), _bounded(number)


def _offset(after: str) -> int:
    """Raises ValueError."""
    return _bounded(after or "0")


def _bounded(number: str) -> int:
    """Raises ValueError, also for what Redis would refuse to count to: that is no page, and no outage."""
    if not 0 <= int(number) < 2**63:
        raise ValueError(f"{number} is no place in a list.")
    return int(number)


def _numbered(start: int, found: Iterable[tuple[str, float]]) -> list[_Found]:
    return [
        _Found(str(start + number), job_id, _from_ms(score)) for number, (job_id, score) in enumerate(found, start=1)
    ]


def _entered(found: Iterable[tuple[_Level, Any]]) -> list[_Found]:
    return [
        _Found(f"{level.priority}/{entry.decode()}", fields[b"j"].decode())
        for level, entries in found
        for entry, fields in entries
    ]


def _listing(backend: str, found: Sequence[_Found], count: int) -> Listing:
    """`found` holds one more than are shown, where there are more."""
    made = Listing(_rows(backend, found[:count]))
    if len(found) > count:
        made.after = found[count - 1].place
    return made


def _by_time(queue: Queue, part: str, after: str, count: int) -> Listing:
    backend, start = queue.backend.alias, _offset(after)
    name = keys.jobs_of(backend, queue.name, part)
    found: Any = client(Role.STATE).zrange(name, start, start + count, withscores=True)
    members = [(member.decode().rpartition(":")[0], score) for member, score in found]
    return _listing(backend, _numbered(start, members), count)


# --- What Redis says -----------------------------------------------------------------------------------------------


def _counts(backend: str, queue: str, streams: Sequence[str]) -> tuple[list[int], list[dict], list[Any]]:
    now = _ms(timezone.now())
    pipeline = client(Role.STATE).pipeline(transaction=False)
    for part in ("scheduled", "retries"):
        pipeline.zcard(keys.jobs_of(backend, queue, part))
    # A worker that was killed is there until another one looks, which may be never.
    pipeline.zcount(keys.jobs_of(backend, queue, "workers"), now, "+inf")
    pipeline.sismember(keys.jobs(backend, "paused"), queue)
    for part in ("scheduled", "retries"):
        pipeline.zrange(keys.jobs_of(backend, queue, part), 0, 0, withscores=True)
    for stream in streams:
        pipeline.xlen(stream)
    found = pipeline.execute()
    return found[6:], _groups(streams), found[:6]


def _groups(streams: Sequence[str]) -> list[dict[str, Any]]:
    """What Redis says of each stream's one group; {} before the first worker came."""
    pipeline = client(Role.STATE).pipeline(transaction=False)
    for stream in streams:
        pipeline.xinfo_groups(stream)
    return [next(iter(answered(groups) or ()), {}) for groups in pipeline.execute(raise_on_error=False)]


def _ages(streams: Sequence[str], groups: Sequence[Mapping[str, Any]]) -> list[float]:
    """For how many seconds the first job of each stream has waited."""
    pipeline = client(Role.STATE).pipeline(transaction=False)
    for stream, group in zip(streams, groups, strict=True):
        pipeline.xrange(stream, f"({_delivered(group)}", "+", 1)
    entries = [entry for found in pipeline.execute() for entry, _fields in found]
    return [max(0.0, _age(_parts(entry.decode())[0])) for entry in entries]


def _delivered(group: Mapping[str, Any]) -> str:
    return str(group["last-delivered-id"].decode()) if group else "0-0"


def _rows(backend: str, found: Sequence[_Found]) -> list[JobRow]:
    pipeline = client(Role.STATE).pipeline(transaction=False)
    for each in found:
        pipeline.hgetall(keys.job(backend, each.id))
    records = pipeline.execute()
    return [_row(each, record) for each, record in zip(found, records, strict=True) if record]


def _row(found: _Found, record: Mapping[bytes, bytes]) -> JobRow:
    payload, errors = readable(record), errors_in(record.get(b"e"))
    workers = record[b"w"].decode().split(",") if record.get(b"w") else []
    return JobRow(
        id=found.id,
        task=payload.path,
        queue=payload.queue,
        priority=payload.priority,
        arguments=_arguments(payload),
        state=record.get(b"s", b"").decode(),
        tries=len(workers),
        enqueued=from_us(payload.enqueued or None),
        begun=from_us(record.get(b"l")),
        at=found.at,
        worker=workers[-1] if workers else "",
        error=errors[-1].traceback.strip().rpartition("\n")[2] if errors else "",
        progress=progress_in(record),
    )


def _arguments(payload: Payload) -> str:
    return ", ".join(f"{name}={value}" if name else value for name, value in arguments(payload, 80))


def _age(ms: float) -> float:
    """Seconds; less than 0 for a time that is to come."""
    return timezone.now().timestamp() - ms / 1000


def _kept(at: datetime | None = None) -> datetime:
    """Of jobs that died earlier, nothing is known any more, at that time or now, but that they did."""
    return (at or timezone.now()) - timedelta(milliseconds=FAILED_MS)


def _ms(moment: datetime) -> int:
    return to_us(moment) // 1000


def _from_ms(score: float) -> datetime:
    return EPOCH + int(score * 1000) * MICROSECOND
