"""Who is here: heartbeats in Redis, and news of who came and went for those who share a room with them.

Each process beats for the people who have a socket there, whatever the number of their devices. A beat counts for a
minute and is renewed after 25 to 50 seconds, so nobody who is here is taken for gone, and a process that is killed
leaves nobody behind for long. Nothing of it is in the database, and without Redis nobody's presence is known.

In a large room everybody's coming and going would be news for everybody: there, nothing is pushed, and who wants to
know asks.
"""

import asyncio
import logging
import random
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from redis.exceptions import RedisError

from intellicolab.cache.declaration import Cached
from intellicolab.redis import keys
from intellicolab.redis.client import Role, async_client, client
from intellicolab.redis.scripts import Argument, load
from intellicolab.threads import run

from . import queries
from .publisher import Batch, publisher

logger = logging.getLogger("realtime")

ROUND_SECONDS = 1.0  # at most one piece of news a process in this time
RENEW_SECONDS = (25.0, 50.0)
LEAVE_SECONDS = 3.0  # a page that is loaded again, or a phone between two masts, has not left
SWEEP_SECONDS = 5.0  # of a quiet process: then the dead ones' people go within a minute
MOST_AT_ONCE = 200  # people; a crowd that comes together is told of over some seconds

LARGE_ROOM = 100  # people: from here on, presence is told to who asks, and typing to nobody
MOST_ASKED = 5_000  # people of one answer who are looked at
MOST_NAMED = 500  # people whom the answer for a large room names; it counts all that were looked at
ASKED_TTL = 5.0  # seconds that such an answer serves everybody who asks

TOPIC = "presence"

_beat = load(Path(__file__).resolve().parent, "presence")
_KEYS = [keys.presence(part) for part in ("people", "beats", "processes")]

Rooms = dict[int, list[int]]  # people by room


class News(msgspec.Struct, frozen=True):
    """What one process found in one round, for the small rooms of who came and went."""

    came: Rooms
    went: Rooms


class Presence:
    """The people of one process and event loop; `sockets` may come and go at any time, `keep` runs until cancelled."""

    def __init__(self) -> None:
        self._process = secrets.token_hex(6)
        self._sockets: Counter[int] = Counter()
        self._due: dict[int, float] = {}  # when each person's heartbeat is to be renewed
        self._leaving: dict[int, float] = {}  # when somebody without a socket counts as gone
        self._sweep = 0.0

    def opened(self, user_id: int) -> None:
        self._sockets[user_id] += 1
        self._leaving.pop(user_id, None)
        self._due.setdefault(user_id, 0.0)

    def closed(self, user_id: int) -> None:
        self._sockets[user_id] -= 1
        if self._sockets[user_id] <= 0:
            del self._sockets[user_id]
            self._leaving[user_id] = time.monotonic() + LEAVE_SECONDS

    async def keep(self) -> None:
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            try:
                await self._round()
            except (RedisError, OSError) as error:
                logger.debug("Who is here can't be told: %s", error)
            except Exception:  # a fault of ours must not end everybody's presence
                logger.exception("Who is here can't be told")

    async def _round(self) -> None:
        now = time.monotonic()
        here, gone = _past(self._due, now), _past(self._leaving, now)
        if not (here or gone or now >= self._sweep):
            return
        came, went = await self._tell(here, gone)
        self._sweep = now + SWEEP_SECONDS
        for user_id in self._due.keys() & set(here):
            del self._due[user_id]  # to the end: in a crowd, those who wait come before those who are due again
            self._due[user_id] = now + random.uniform(*RENEW_SECONDS)  # noqa: S311  jitter, not a secret
        for user_id in gone:
            self._forget(user_id)
        if came or went:
            await run(publish, came, went)

    async def _tell(self, here: Sequence[int], gone: Sequence[int]) -> list[list[int]]:
        arguments: list[Argument] = [self._process, int(keys.PRESENCE_TTL * 1000), len(here), *here, *gone]
        answer = await _beat.call_async(async_client(Role.STATE), _KEYS, arguments)
        return [[int(user_id) for user_id in part] for part in answer]

    def _forget(self, user_id: int) -> None:
        """Who opened a socket meanwhile is due at once: they were told gone."""
        self._leaving.pop(user_id, None)
        self._due.pop(user_id, None)
        if user_id in self._sockets:
            self._due[user_id] = 0.0


def _past(times: dict[int, float], now: float) -> list[int]:
    return list(islice((user_id for user_id, at in times.items() if at <= now), MOST_AT_ONCE))


def publish(came: Sequence[int], went: Sequence[int]) -> None:
    """Tell all processes, for the small rooms of these people. Blocks."""
    rooms = queries.small_rooms_of([*came, *went], LARGE_ROOM)
    news = News(_by_room(came, rooms), _by_room(went, rooms))
    if news.came or news.went:
        publisher.publish(Batch(TOPIC, [msgspec.json.encode(news).decode()]))


def _by_room(people: Iterable[int], rooms: dict[int, set[int]]) -> Rooms:
    found: Rooms = defaultdict(list)
    for user_id in people:
        for room_id in rooms.get(user_id, ()):
            found[room_id].append(user_id)
    return dict(found)


def read_news(text: str) -> News:
    return msgspec.json.decode(text, type=News)


# --- For who asks ----------------------------------------------------------------------------------------------------


class Here(msgspec.Struct, frozen=True):
    """Some of the people who are in a room and here, and how many they are."""

    people: tuple[int, ...]
    count: int


def among(user_ids: Sequence[int]) -> list[int]:
    """Those of these people who are here; none while Redis is away. Blocks."""
    if not user_ids:
        return []
    state = client(Role.STATE)
    try:
        seconds, micros = state.time()
        scores: Any = state.zmscore(_KEYS[0], [str(user_id) for user_id in user_ids])
    except (RedisError, OSError):
        return []
    now = seconds * 1000 + micros / 1000
    return [user_id for user_id, ends in zip(user_ids, scores, strict=True) if ends is not None and ends > now]


def around(user_id: int) -> list[int]:
    """Who is here of those with whom the person shares a small room, themselves included. Blocks."""
    return among(queries.neighbours(user_id, LARGE_ROOM, MOST_ASKED))


def _load(room_id: int) -> Here:
    found = among(queries.people_of(room_id, MOST_ASKED))
    return Here(tuple(found[:MOST_NAMED]), len(found))


_in_room: Cached[Here] = Cached("room-presence", "{room_id}", _load, ttl=ASKED_TTL, type=Here)


def inside(room_id: int) -> Here:
    """Who is here of a room of any size, as of some seconds ago. Blocks."""
    return _in_room.get(room_id) or Here((), 0)
