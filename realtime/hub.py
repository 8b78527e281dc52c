"""The hub: one a process and event loop, between the channel layer and the sockets.

It holds one layer membership a topic, not one a socket, so Redis delivers a message once to each process. It keeps
the last version delivered to each room: an older batch is dropped, an early one is held for a moment, and a gap is
read once from the database for all sockets of the room. Every two seconds it compares all its rooms with the database,
so what Redis lost, or never got, arrives too: messages, and that somebody was let into a room or is in it no more.
Every four it asks Redis which of the sessions behind its sockets are still there.
"""

import asyncio
import logging
import weakref
from collections.abc import Callable, Container, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from channels.layers import get_channel_layer
from django.core.exceptions import ObjectDoesNotExist
from django.db import Error as DatabaseFault
from redis.exceptions import RedisError

from accounts import sessions
from accounts.sessions import SessionUnavailable
from intellicolab.prepared import encode_all
from intellicolab.threads import run

from . import changes, frames, presence, queries
from .errors import SIGNED_OUT, ChatError
from .figures import figures
from .outlet import Outlet
from .presence import Presence
from .publisher import person_topic, room_topic

logger = logging.getLogger("realtime")

HOLD_SECONDS = 0.1  # how long an early batch may wait for the one before it: two publishers racing take microseconds
HEAL_SECONDS = 2.0
COMPARE_EVERY = 15  # rounds; the memberships of everybody here, whatever the stamp of all rooms says
# Sockets whose first questions to Redis and the database are on their way. A crowd that comes back waits here, and
# those who are connected already get their answers meanwhile.
OPENING_AT_ONCE = 16
RETURNS_A_SECOND = 500  # sockets; a process can open some 300 to 1,000 a second and do nothing else
LOOK_SECONDS = 4.0  # between two looks at the sessions of all sockets here; news of an end comes sooner


@dataclass(slots=True)
class Topic:
    """What the hub knows of one room or person: who listens here and, for a room, how far they are."""

    name: str
    room_id: int | None = None
    person_id: int | None = None
    version: int | None = None
    outlets: set[Outlet] = field(default_factory=set)
    early: dict[int, dict[str, Any]] = field(default_factory=dict)
    people: int | None = None  # how many are in the room, as soon as somebody needed to know
    subscribed: bool = False
    healing: asyncio.TimerHandle | None = None

    def push(self, ready: list[str]) -> None:
        """Each frame is encoded once, and all of them are one write a socket."""
        if ready and self.outlets:
            data = encode_all(ready)
            for outlet in self.outlets:
                outlet.push_all(ready, data)
            figures.sent(len(ready), len(data), len(self.outlets))


class Hub:
    """Use `Hub.here()`: the hub of the running loop."""

    _hubs: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]" = weakref.WeakKeyDictionary()

    def __init__(self) -> None:
        self._layer = get_channel_layer()
        self._channel = ""
        self._subscribing = asyncio.Lock()
        self._topics: dict[str, Topic] = {}
        self._heard: dict[Outlet, list[str]] = {}  # a set of twenty names would be 2 KB a socket
        self._tasks: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[None]] = set()
        self._presence = Presence()
        self._stamp: tuple[int, int] | None = None
        self._skipped = 0
        self._reading: dict[tuple[int, int], asyncio.Future[str]] = {}  # answers to `room.resume`, by room and version
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
        person = self._add(outlet, Topic(person_topic(user_id), person_id=user_id))
        self._presence.opened(user_id)
        everybody = self._add(outlet, Topic(presence.TOPIC))
        await self._subscribe_all([person, everybody, *self._add_rooms(outlet, room_ids)])

    async def follow(self, outlet: Outlet, room_ids: Iterable[int]) -> None:
        """Let a socket hear these rooms, too."""
        self._start()
        await self._subscribe_all(self._add_rooms(outlet, room_ids))

    async def keep_only(self, outlet: Outlet, room_ids: Container[int]) -> None:
        """Stop a socket from hearing every other room."""
        for room_id in self._rooms_heard(outlet):
            if room_id not in room_ids:
                await self.leave(outlet, room_topic(room_id))

    def began(self, versions: dict[int, int]) -> None:
        """Rooms stand at these versions: those the hub has just begun to follow count from here."""
        for room_id, version in versions.items():
            topic = self._topics.get(room_topic(room_id))
            if topic is not None and topic.version is None:
                topic.version = version
                self._release_early(topic)

    async def is_small(self, outlet: Outlet, room_id: int) -> bool:
        """Whether that is a room that the socket hears, and not a large one. Raises DatabaseError."""
        name = room_topic(room_id)
        if name not in self._heard.get(outlet, ()):
            return False
        topic = self._topics[name]
        if topic.people is None:
            found = await run(queries.states, [room_id])
            topic.people = found[room_id].people if room_id in found else None
        return topic.people is not None and topic.people < presence.LARGE_ROOM

    async def leave(self, outlet: Outlet, name: str) -> None:
        if name in self._heard.get(outlet, ()):
            self._heard[outlet].remove(name)
        for topic in self._forget(outlet, [name]):
            await self._unsubscribe(topic)

    def leave_all(self, outlet: Outlet) -> None:
        """Forget a socket at once; what nobody hears any more is unsubscribed from in the background.

        It waits for nothing, so no cancellation can leave a dead socket behind.
        """
        names = self._heard.pop(outlet, [])
        for person in (self._topics[name] for name in names if name in self._topics):
            if person.person_id is not None:
                self._presence.closed(person.person_id)
        for topic in self._forget(outlet, names):
            self._in_background(self._unsubscribe(topic))

    @property
    def sockets(self) -> int:
        """How many are open here."""
        return len(self._heard)

    @property
    def spread(self) -> float:
        """Seconds over which the sockets here had better come back, if they were all lost together."""
        return round(self.sockets / RETURNS_A_SECOND, 1)

    @property
    def rooms(self) -> int:
        """How many somebody here listens to."""
        return sum(topic.room_id is not None for topic in self._topics.values())

    async def close(self) -> None:
        """End the hub's tasks and its layer connection."""
        for task in [*self._tasks, *self._background]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._background, return_exceptions=True)
        self._tasks.clear()
        self._topics.clear()
        self._heard.clear()
        await self._layer.flush()

    def _add_rooms(self, outlet: Outlet, room_ids: Iterable[int]) -> list[Topic]:
        return [self._add(outlet, Topic(room_topic(room_id), room_id=room_id)) for room_id in room_ids]

    def _add(self, outlet: Outlet, fresh: Topic) -> Topic:
        topic = self._topics.setdefault(fresh.name, fresh)
        if outlet not in topic.outlets:
            topic.outlets.add(outlet)
            self._heard.setdefault(outlet, []).append(topic.name)
        return topic

    def _forget(self, outlet: Outlet, names: Iterable[str]) -> list[Topic]:
        """Take the socket out of these topics; returns those that nobody hears any more."""
        topics = [self._topics[name] for name in names if name in self._topics]
        for topic in topics:
            topic.outlets.discard(outlet)
        empty = [topic for topic in topics if not topic.outlets]
        for topic in empty:
            del self._topics[topic.name]
            if topic.healing is not None:
                topic.healing.cancel()
        return empty

    async def _unsubscribe(self, topic: Topic) -> None:
        if topic.name in self._topics:
            return  # somebody came while this waited for its turn
        try:
            await self._layer.group_discard(topic.name, self._channel)
        except (RedisError, OSError):
            logger.debug("%s is still subscribed: Redis is away", topic.name)

    def _start(self) -> None:
        if not self._tasks:
            always = (self._receive(), self._heal_always(), self._look_always(), self._presence.keep())
            self._tasks = [asyncio.create_task(work) for work in always]

    # --- From the channel layer ------------------------------------------------------------------------------------

    async def _subscribe_all(self, topics: list[Topic]) -> None:
        """Without Redis the sockets are served all the same: from the database, and subscribed when it is back."""
        try:
            async with self._subscribing:
                if not self._channel:
                    self._channel = await self._layer.new_channel()
                for topic in topics:
                    if not topic.subscribed and self._topics.get(topic.name) is topic:
                        await self._layer.group_add(topic.name, self._channel)
                        topic.subscribed = True
        except (RedisError, OSError):
            return  # at the first failure: each further one would cost a socket its time-out

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
        topic = self._topics.get(batch["topic"])
        if topic is None:
            return
        if topic.person_id is not None:
            self._tell(topic, batch)
        elif topic.room_id is None:
            self._tell_presence(topic, batch)
        elif not batch["first"]:
            topic.push(batch["frames"])  # of the moment, such as typing: it has no version
        elif topic.version is None or batch["first"] > topic.version + 1:
            self._hold(topic, batch)
        else:
            self._advance(topic, batch)
            self._release_early(topic)

    def _tell(self, person: Topic, batch: dict[str, Any]) -> None:
        """News for one person; whose sockets, when they left a room, hear no more of it, nor those signed out."""
        person.push(batch["frames"])
        self._hang_up(person, batch.get("ended", ()), batch.get("code", SIGNED_OUT))
        if batch["left"]:
            for outlet in list(person.outlets):
                self._in_background(self.leave(outlet, room_topic(batch["left"])))

    def _tell_presence(self, everybody: Topic, batch: dict[str, Any]) -> None:
        """One frame for each socket that shares a room with any of those who came and went."""
        for text in batch["frames"]:
            news = presence.read_news(text)
            for outlet in self._in_any([*news.came, *news.went]):
                rooms = self._rooms_heard(outlet)
                outlet.push(frames.presence(_of_rooms(news.came, rooms), _of_rooms(news.went, rooms)))

    def _in_any(self, room_ids: Iterable[int]) -> set[Outlet]:
        topics = (self._topics.get(room_topic(room_id)) for room_id in room_ids)
        return {outlet for topic in topics if topic is not None for outlet in topic.outlets}

    def _hang_up(self, person: Topic, ended: Container[str], code: int) -> None:
        for outlet in person.outlets:
            if outlet.session in ended:
                outlet.hang_up(code)

    def _advance(self, topic: Topic, batch: dict[str, Any]) -> None:
        assert topic.version is not None
        if batch["last"] > topic.version:
            topic.push(batch["frames"][topic.version + 1 - batch["first"] :])
            topic.version = batch["last"]

    def _hold(self, topic: Topic, batch: dict[str, Any]) -> None:
        topic.early[batch["first"]] = batch
        if topic.healing is None and topic.version is not None:
            loop = asyncio.get_running_loop()
            topic.healing = loop.call_later(HOLD_SECONDS, self._heal_soon, topic)

    def _release_early(self, topic: Topic) -> None:
        for first in sorted(topic.early):
            if topic.version is None or first > topic.version + 1:
                break
            self._advance(topic, topic.early.pop(first))
        if not topic.early and topic.healing is not None:
            topic.healing.cancel()
            topic.healing = None

    # --- From the database -----------------------------------------------------------------------------------------

    def _heal_soon(self, topic: Topic) -> None:
        self._in_background(self._heal(topic))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._background.discard)

    async def _heal(self, topic: Topic) -> None:
        """Read once, for every socket here, what lies between the last delivery and now."""
        assert topic.room_id is not None
        topic.healing = None
        since = topic.version
        if since is None:
            return
        try:
            found = await run(changes.since, topic.room_id, since)
        except (DatabaseFault, ObjectDoesNotExist) as error:
            logger.warning("Room %s can't be read from the database: %s", topic.room_id, error)
            return  # the next round tries again
        if topic.version == since:  # nothing came from the layer meanwhile
            self._apply(topic, found)

    def _apply(self, topic: Topic, found: changes.Changes) -> None:
        assert topic.room_id is not None
        if found.reset:
            topic.push([frames.reset(topic.room_id)])
        else:
            topic.push([frames.encode(change) for change in found.changes])
        topic.version = max(found.upto, topic.version or 0)  # never back, or all that follows would be held
        self._release_early(topic)
        if found.more or topic.early:
            self._heal_soon(topic)

    async def _heal_always(self) -> None:
        while True:
            await asyncio.sleep(HEAL_SECONDS)
            try:
                await self._heal_round()
            except DatabaseFault as error:
                logger.warning("Open rooms can't be compared with the database: %s", error)
            except Exception:  # a fault of ours must not end the healing of everyone's rooms for good
                logger.exception("Open rooms can't be compared with the database")

    async def _heal_round(self) -> None:
        await self._subscribe_all(list(self._topics.values()))
        await self._heal_people()
        rooms = {topic.room_id: topic for topic in self._topics.values() if topic.room_id is not None}
        if not rooms:
            return
        states = await run(queries.states, list(rooms))
        for room_id in rooms.keys() & states.keys():
            topic, state = rooms[room_id], states[room_id]
            topic.people = state.people
            if topic.version is not None and state.version > topic.version and topic.healing is None:
                await self._heal(topic)

    async def _heal_people(self) -> None:
        """Membership is the authority, and news of a change may be lost: what each socket hears is compared with it."""
        people = {topic.person_id: topic for topic in self._topics.values() if topic.person_id is not None}
        if not people:
            return
        if not await self._may_have_changed():
            await self._hang_up_inactive(people)
            return
        # Before the query: a room that is entered while it runs is not in its answer, and must not be left for that.
        heard = {outlet: self._rooms_heard(outlet) for topic in people.values() for outlet in topic.outlets}
        allowed = await run(queries.rooms_by_person, list(people))
        for person_id, topic in people.items():
            for outlet in topic.outlets & heard.keys():
                if person_id in allowed:
                    await self._match(outlet, heard[outlet], allowed[person_id])
                else:
                    outlet.hang_up(SIGNED_OUT)

    async def _may_have_changed(self) -> bool:
        """Whether anybody came into a room or left one since the last round; asked for the whole site, as it is cheap.

        Every so often everything is compared all the same: rows may go without their services, such as with a person.
        """
        stamp, before = await run(queries.members_stamp), self._stamp
        self._stamp, self._skipped = stamp, self._skipped + 1
        if stamp == before and self._skipped < COMPARE_EVERY:
            return False
        self._skipped = 0
        return True

    async def _hang_up_inactive(self, people: dict[int, Topic]) -> None:
        for person_id in people.keys() - await run(queries.active_among, list(people)):
            for outlet in people[person_id].outlets:
                outlet.hang_up(SIGNED_OUT)

    async def _match(self, outlet: Outlet, heard: set[int], allowed: set[int]) -> None:
        for room_id in heard - allowed:
            await self.leave(outlet, room_topic(room_id))
            outlet.push(frames.removed(room_id))
        missed = allowed - self._rooms_heard(outlet)
        if missed and outlet in self._heard:
            await self.follow(outlet, missed)
            self.began({room_id: state.version for room_id, state in (await run(queries.states, missed)).items()})
            for room_id in missed:
                outlet.push(frames.added(room_id))

    def _rooms_heard(self, outlet: Outlet) -> set[int]:
        topics = (self._topics[name] for name in self._heard.get(outlet, ()))
        return {topic.room_id for topic in topics if topic.room_id is not None}

    async def resume(self, outlet: Outlet, user_id: int, room_id: int, version: int) -> str:
        """The answer to a socket's `room.resume`. Raises ChatError no_room, DatabaseError.

        A crowd that lost its connections together asks the same: one read answers all who ask while it is on its way.
        """
        if room_topic(room_id) not in self._heard.get(outlet, ()):
            return await run(_changes_frame, changes.told_to, user_id, room_id, version)
        reading = self._reading.get((room_id, version))
        if reading is None:
            reading = asyncio.ensure_future(run(_changes_frame, changes.since, room_id, version))
            self._reading[room_id, version] = reading
            reading.add_done_callback(lambda _: self._reading.pop((room_id, version), None))
        return await asyncio.shield(reading)  # whoever goes away must not take it from the others

    # --- From the session store --------------------------------------------------------------------------------------

    async def _look_always(self) -> None:
        """A task of its own: while Redis hangs, this waits for it, and the healing from the database must not."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except SessionUnavailable as error:
                logger.debug("The sessions of open sockets can't be looked at: %s", error)  # nobody is signed out by it
            except Exception:  # a fault of ours must not let ended sessions listen for good
                logger.exception("The sessions of open sockets can't be looked at")

    async def _look(self) -> None:
        """Close sockets whose session is over: it ran out, or the news of its end was lost."""
        people = [topic for topic in self._topics.values() if topic.person_id is not None]
        opened = {outlet.session for person in people for outlet in person.outlets if outlet.session}
        if not opened:
            return
        gone = await run(sessions.missing, opened)
        for person in people:
            self._hang_up(person, gone, SIGNED_OUT)


def _of_rooms(people: presence.Rooms, rooms: set[int]) -> set[int]:
    return set().union(*(people[room_id] for room_id in people.keys() & rooms))


def _changes_frame(read: Callable[..., changes.Changes], *arguments: int) -> str:
    """What `changes.since` or `told_to` finds, as the frame that answers. Its arguments end with room and version."""
    room_id = arguments[-2]
    try:
        found = read(*arguments)
    except ObjectDoesNotExist as error:
        raise ChatError("no_room") from error
    if found.reset:
        return frames.reset(room_id)
    return frames.changes(room_id, found.changes, found.upto, found.more)
