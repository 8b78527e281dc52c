"""The hub: one a process and event loop, between the channel layer and the sockets.

It holds one layer membership a topic, not one a socket, so Redis delivers a message once to each process. It keeps
the last version delivered to each room: an older batch is dropped, an early one is held for a moment, and a gap is
read once from the database for all sockets of the room (`healing.py`).
"""

import asyncio
import logging
import time
import weakref
from collections.abc import Container, Coroutine, Iterable
from typing import Any

from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from intellicolab.threads import run

from . import frames, presence, queries
from .errors import SIGNED_OUT
from .healing import Healing
from .outlet import Outlet
from .presence import Presence
from .publisher import person_topic, room_topic
from .resumes import Resumes
from .session_looks import SessionLooks
from .topics import Topic, Topics

logger = logging.getLogger("realtime")

HOLD_SECONDS = 0.1  # how long an early batch may wait for the one before it: two publishers racing take microseconds
# Sockets whose first questions to Redis and the database are on their way. A crowd that comes back waits here, and
# those who are connected already get their answers meanwhile.
OPENING_AT_ONCE = 16
LINGER_SECONDS = 10.0  # that a topic stays subscribed to after its last socket: most come back, and a crowd all at once
RETURNS_A_SECOND = 500  # sockets; a process can open some 300 to 1,000 a second and do nothing else


class Hub:
    """Use `Hub.here()`: the hub of the running loop."""

    _hubs: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]" = weakref.WeakKeyDictionary()

    def __init__(self) -> None:
        self._layer = get_channel_layer()
        self._channel = ""
        self._subscribing = asyncio.Lock()
        self._subscribed: set[str] = set()
        self._unheard: dict[str, float] = {}  # topics without a socket, by when they are to be unsubscribed from
        self._tasks: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[None]] = set()
        self._resumes = Resumes()
        self.topics = Topics()
        self.presence = Presence()
        self.healing = Healing(self)
        self.looks = SessionLooks(self.topics)
        self.opening = asyncio.Semaphore(OPENING_AT_ONCE)

    @classmethod
    def here(cls) -> "Hub":
        loop = asyncio.get_running_loop()
        if loop not in cls._hubs:
            cls._hubs[loop] = cls()
        return cls._hubs[loop]

    # --- Who listens -----------------------------------------------------------------------------------------------

    async def enter(self, outlet: Outlet, user_id: int, room_ids: Iterable[int]) -> None:
        """Let a person's socket hear their own news and these rooms; what comes from now on reaches it."""
        self._start()
        person = self.topics.add(outlet, Topic(person_topic(user_id), person_id=user_id))
        self.presence.opened(user_id)
        everybody = self.topics.add(outlet, Topic(presence.TOPIC))
        await self.subscribe([person, everybody, *self._add_rooms(outlet, room_ids)])

    async def follow(self, outlet: Outlet, room_ids: Iterable[int]) -> None:
        """Let a socket hear these rooms, too."""
        self._start()
        await self.subscribe(self._add_rooms(outlet, room_ids))

    def keep_only(self, outlet: Outlet, room_ids: Container[int]) -> None:
        """Stop a socket from hearing every other room."""
        for room_id in self.topics.rooms_of(outlet):
            if room_id not in room_ids:
                self.leave(outlet, room_topic(room_id))

    def began(self, versions: dict[int, int]) -> None:
        """Rooms stand at these versions: those the hub has just begun to follow count from here."""
        for room_id, version in versions.items():
            topic = self.topics.get(room_topic(room_id))
            if topic is not None and topic.version is None:
                topic.version = version
                self.release_early(topic)

    async def resume(self, outlet: Outlet, user_id: int, room_id: int, version: int) -> str:
        """The answer to a socket's `room.resume`. Raises ChatError no_room, DatabaseError."""
        if self.topics.hears(outlet, room_id):
            return await self._resumes.answer(room_id, version)
        return await self._resumes.answer_to(user_id, room_id, version)

    async def is_small(self, outlet: Outlet, room_id: int) -> bool:
        """Whether that is a room that the socket hears, and not a large one. Raises DatabaseError."""
        topic = self.topics.get(room_topic(room_id))
        if topic is None or not self.topics.hears(outlet, room_id):
            return False
        if topic.people is None:
            found = await run(queries.states, [room_id])
            topic.people = found[room_id].people if room_id in found else None
        return topic.people is not None and topic.people < presence.LARGE_ROOM

    def leave(self, outlet: Outlet, name: str) -> None:
        self._linger(self.topics.take_out(outlet, name))

    def leave_all(self, outlet: Outlet) -> None:
        """Forget a socket. It waits for nothing, so no cancellation can leave a dead socket behind."""
        people, unheard = self.topics.pop(outlet)
        for user_id in people:
            self.presence.closed(user_id)
        self._linger(unheard)

    def _linger(self, unheard: list[Topic]) -> None:
        ends = time.monotonic() + LINGER_SECONDS
        self._unheard.update((topic.name, ends) for topic in unheard)

    @property
    def sockets(self) -> int:
        """How many are open here."""
        return self.topics.sockets

    @property
    def rooms(self) -> int:
        """How many somebody here listens to."""
        return len(self.topics.rooms())

    @property
    def spread(self) -> float:
        """Seconds over which the sockets here had better come back, if they were all lost together."""
        return round(self.sockets / RETURNS_A_SECOND, 1)

    async def close(self) -> None:
        """End the hub's tasks and its layer connection."""
        for task in [*self._tasks, *self._background]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._background, return_exceptions=True)
        self._tasks.clear()
        self.topics.clear()
        self._subscribed.clear()
        self._unheard.clear()
        await self._layer.flush()

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._background.discard)

    def _add_rooms(self, outlet: Outlet, room_ids: Iterable[int]) -> list[Topic]:
        return [self.topics.add(outlet, Topic(room_topic(room_id), room_id=room_id)) for room_id in room_ids]

    def _start(self) -> None:
        if not self._tasks:
            own = (self._receive(), self._unsubscribe_always())
            always = (*own, self.healing.keep(), self.looks.keep(), self.presence.keep())
            self._tasks = [asyncio.create_task(work) for work in always]

    # --- From the channel layer ------------------------------------------------------------------------------------

    async def subscribe(self, topics: list[Topic]) -> None:
        """Without Redis the sockets are served all the same: from the database, and subscribed when it is back."""
        try:
            async with self._subscribing:
                if not self._channel:
                    self._channel = await self._layer.new_channel()
                for topic in topics:
                    if topic.name not in self._subscribed and self.topics.get(topic.name) is topic:
                        await self._layer.group_add(topic.name, self._channel)
                        self._subscribed.add(topic.name)
        except (RedisError, OSError):
            return  # at the first failure: each further one would cost a socket its time-out

    async def _unsubscribe_always(self) -> None:
        while True:
            await asyncio.sleep(LINGER_SECONDS / 10)
            now = time.monotonic()
            for name in [name for name, ends in self._unheard.items() if ends <= now]:
                del self._unheard[name]
                await self._unsubscribe(name)

    async def _unsubscribe(self, name: str) -> None:
        async with self._subscribing:
            if self.topics.get(name) is not None or name not in self._subscribed:
                return  # somebody came back
            self._subscribed.discard(name)
            try:
                await self._layer.group_discard(name, self._channel)
            except (RedisError, OSError):
                logger.debug("%s is still subscribed: Redis is away", name)

    async def _receive(self) -> None:
        while True:
            try:
                await self._receive_next()
            except Exception:  # such as a batch of another version's shape: this task must outlive it
                logger.exception("A batch from the channel layer could not be delivered")
                await asyncio.sleep(HOLD_SECONDS)

    async def _receive_next(self) -> None:
        if self._channel:
            self.deliver(await self._layer.receive(self._channel))
        else:
            await asyncio.sleep(HOLD_SECONDS)

    def deliver(self, batch: dict[str, Any]) -> None:
        """A batch from the layer: `topic`, `frames`, and for a room the versions `first..last`, one a frame."""
        topic = self.topics.get(batch["topic"])
        if topic is None:
            return
        if topic.person_id is not None:
            self._tell(topic, batch)
        elif topic.room_id is None:
            self._tell_presence(batch)
        elif not batch["first"]:
            topic.push(batch["frames"])  # of the moment, such as typing: it has no version
        elif topic.version is None or batch["first"] > topic.version + 1:
            self._hold(topic, batch)
        else:
            self._advance(topic, batch)
            self.release_early(topic)

    def _tell(self, person: Topic, batch: dict[str, Any]) -> None:
        """News for one person; whose sockets, when they left a room, hear no more of it, nor those signed out."""
        person.push(batch["frames"])
        person.hang_up(batch.get("ended", ()), batch.get("code", SIGNED_OUT))
        if batch["left"]:
            for outlet in list(person.outlets):
                self.leave(outlet, room_topic(batch["left"]))

    def _tell_presence(self, batch: dict[str, Any]) -> None:
        """One frame for each socket that shares a room with any of those who came and went."""
        for text in batch["frames"]:
            news = presence.read_news(text)
            for outlet in self.topics.in_any([*news.came, *news.went]):
                rooms = self.topics.rooms_of(outlet)
                outlet.push(frames.presence(_of_rooms(news.came, rooms), _of_rooms(news.went, rooms)))

    def _advance(self, topic: Topic, batch: dict[str, Any]) -> None:
        assert topic.version is not None
        if batch["last"] > topic.version:
            topic.push(batch["frames"][topic.version + 1 - batch["first"] :])
            topic.version = batch["last"]

    def _hold(self, topic: Topic, batch: dict[str, Any]) -> None:
        topic.early[batch["first"]] = batch
        if topic.healing is None and topic.version is not None:
            loop = asyncio.get_running_loop()
            topic.healing = loop.call_later(HOLD_SECONDS, self.healing.soon, topic)

    def release_early(self, topic: Topic) -> None:
        """Deliver what was held and now follows what was delivered."""
        for first in sorted(topic.early):
            if topic.version is None or first > topic.version + 1:
                break
            self._advance(topic, topic.early.pop(first))
        if not topic.early and topic.healing is not None:
            topic.healing.cancel()
            topic.healing = None


def _of_rooms(people: presence.Rooms, rooms: set[int]) -> set[int]:
    return set().union(*(people[room_id] for room_id in people.keys() & rooms))
