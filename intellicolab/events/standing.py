"""How streams and their groups stand in Redis: what waits, since when, and who takes it.

Three round trips and a query, whatever there is to tell: a pipeline for the streams, one for their groups, one for the
entries that have waited longest, and the groups that are paused.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from intellicolab.redis import keys
from intellicolab.redis.client import Role, client
from intellicolab.redis.missing import answered

from . import streams
from .groups import Group, groups
from .models import Pause
from .schema import streams as known_streams


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """A consumer of one group. `idle` is seconds since it asked for entries or renewed what it has in hand; a server
    before Redis 7.2 says since when it has got nothing."""

    name: str
    idle: float
    pending: int


@dataclass(slots=True)
class GroupState:
    """A group in one stream. `lag` counts what no consumer has had yet, `pending` what one has and is not through with,
    `retries` those of these that have failed and wait for another try, in `next_try` seconds.

    Ages are seconds since a fact was made, None where there is none: `oldest` of all that waits, `oldest_new` of what
    no consumer has had.
    """

    name: str
    stream: str
    declared: Group | None
    delivered: int = 0  # position
    lag: int = 0
    pending: int = 0
    first_pending: int = 0  # position
    retries: int = 0
    next_try: float | None = None
    oldest: float | None = None
    oldest_new: float | None = None
    consumers: list[ConsumerState] = field(default_factory=list)
    pause: Pause | None = None

    @property
    def waiting(self) -> int:
        return self.lag + self.pending


@dataclass(slots=True)
class StreamState:
    """A stream, which holds `length` entries of at most `bound`; `end` is the position of the last it ever had."""

    name: str
    length: int = 0
    end: int = 0
    bound: int = streams.MOST
    groups: list[GroupState] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Per cent of the bound."""
        return 100 * self.length / self.bound


def standing() -> list[StreamState]:
    """All streams that events are declared for, with their groups. Raises RedisError, DatabaseError."""
    found = _streams(known_streams())
    waiting = [group for stream in found for group in stream.groups]
    _add_takers(waiting)
    _add_ages(waiting)
    paused = Pause.objects.in_bulk()
    for group in waiting:
        group.pause = paused.get(group.name)
    return found


def _streams(names: list[str]) -> list[StreamState]:
    """Nothing was appended yet to one that is not there, and no consumer has come to such a group."""
    pipeline = client(Role.STATE).pipeline(transaction=False)
    for name in names:
        pipeline.xinfo_stream(keys.event_stream(name))
        pipeline.xinfo_groups(keys.event_stream(name))
    answers = iter([answered(answer) for answer in pipeline.execute(raise_on_error=False)])
    return [_stream(name, next(answers), next(answers)) for name in names]


def _stream(name: str, info: Any, infos: Any) -> StreamState:
    made = StreamState(name)
    if info is not None:
        made.length, made.end = info["length"], _position(info["last-generated-id"])
    declared = {group.name: group for group in groups() if name in group.streams}
    there = {info["name"].decode(): info for info in infos or ()}
    for group in sorted({*declared, *there}):
        made.groups.append(_group(made, group, declared.get(group), there.get(group)))
    return made


def _group(stream: StreamState, name: str, declared: Group | None, info: Any) -> GroupState:
    """A group that is not there yet gets all that the stream holds. Positions have no gaps, so they tell the lag, which
    the server does not know after some deletions."""
    made = GroupState(name, stream.name, declared, lag=stream.length)
    if info is not None:
        made.delivered, made.pending = _position(info["last-delivered-id"]), info["pending"]
        made.lag = min(stream.length, stream.end - made.delivered)
    return made


def _add_takers(waiting: list[GroupState]) -> None:
    pipeline = client(Role.STATE).pipeline(transaction=False)
    for group in waiting:
        stream, retries = keys.event_stream(group.stream), keys.event_retries(group.stream, group.name)
        pipeline.xinfo_consumers(stream, group.name)
        pipeline.xpending(stream, group.name)
        pipeline.zcard(retries)
        pipeline.zrange(retries, 0, 0, withscores=True)
    answers = iter([answered(answer) for answer in pipeline.execute(raise_on_error=False)])
    for group in waiting:
        group.consumers = [_consumer(info) for info in next(answers) or ()]
        group.first_pending = _position((next(answers) or {}).get("min") or b"0-0")
        group.retries = next(answers)
        group.next_try = next((max(0.0, due / 1000 - time.time()) for _id, due in next(answers)), None)


def _add_ages(waiting: list[GroupState]) -> None:
    pipeline = client(Role.STATE).pipeline(transaction=False)
    for group in waiting:
        for position in (group.first_pending, group.delivered + 1):
            pipeline.xrange(keys.event_stream(group.stream), min=f"{position}-0", count=1)
    answers = iter(pipeline.execute())
    for group in waiting:
        first, new = _age(next(answers)), _age(next(answers))
        group.oldest_new = new if group.lag else None
        group.oldest = first if group.first_pending else group.oldest_new


def _age(entries: Any) -> float | None:
    """None as well for an entry that does not say when it was made."""
    for _id, fields in entries or ():
        if fields and b"t" in fields:
            return max(0.0, time.time() - int(fields[b"t"]))
    return None


def _consumer(info: Any) -> ConsumerState:
    return ConsumerState(info["name"].decode(), info["idle"] / 1000, info["pending"])


def _position(place: bytes) -> int:
    return int(place.split(b"-")[0])
