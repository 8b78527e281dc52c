"""What the hub reads from the database because Redis lost it, or never got it.

A room with a gap is read at once; every two seconds all open rooms, and the memberships behind all sockets, are
compared with the database. So it also works while Redis is away.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from django.core.exceptions import ObjectDoesNotExist
from django.db import Error as DatabaseFault

from intellicolab.threads import run

from . import changes, frames, queries
from .changes import Changes
from .errors import SIGNED_OUT
from .outlet import Outlet
from .publisher import room_topic
from .topics import Topic

if TYPE_CHECKING:
    from .hub import Hub

logger = logging.getLogger("realtime")

HEAL_SECONDS = 2.0
COMPARE_EVERY = 15  # rounds; the memberships of everybody here, whatever the stamp of all rooms says


class Healing:
    """Of one hub."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._stamp: tuple[int, int] | None = None  # of all memberships, when they were compared last
        self._skipped = 0

    def soon(self, room: Topic) -> None:
        self._hub.in_background(self.heal(room))

    async def keep(self) -> None:
        while True:
            await asyncio.sleep(HEAL_SECONDS)
            try:
                await self._round()
            except DatabaseFault as error:
                logger.warning("Open rooms can't be compared with the database: %s", error)
            except Exception:  # a fault of ours must not end the healing of everyone's rooms for good
                logger.exception("Open rooms can't be compared with the database")

    # --- Rooms -----------------------------------------------------------------------------------------------------

    async def heal(self, room: Topic) -> None:
        """Read once, for every socket here, what lies between the last delivery and now."""
        assert room.room_id is not None
        room.healing = None
        since = room.version
        if since is None:
            return
        try:
            found = await run(changes.since, room.room_id, since)
        except (DatabaseFault, ObjectDoesNotExist) as error:
            logger.warning("Room %s can't be read from the database: %s", room.room_id, error)
            return  # the next round tries again
        if room.version == since:  # nothing came from the layer meanwhile
            self._apply(room, found)

    def _apply(self, room: Topic, found: Changes) -> None:
        assert room.room_id is not None
        if found.reset:
            room.push([frames.reset(room.room_id)])
        else:
            room.push([frames.encode(change) for change in found.changes])
        room.version = max(found.upto, room.version or 0)  # never back, or all that follows would be held
        self._hub.release_early(room)
        if found.more or room.early:
            self.soon(room)

    async def _round(self) -> None:
        await self._hub.subscribe(self._hub.topics.all())
        await self._compare_people()
        rooms = self._hub.topics.rooms()
        if not rooms:
            return
        states = await run(queries.states, list(rooms))
        for room_id in rooms.keys() & states.keys():
            room, state = rooms[room_id], states[room_id]
            room.people = state.people
            if room.version is not None and state.version > room.version and room.healing is None:
                await self.heal(room)

    # --- People ----------------------------------------------------------------------------------------------------

    async def _compare_people(self) -> None:
        """Membership is the authority, and news of a change may be lost: what each socket hears is compared with it.

        Only if anybody came into a room or left one, anywhere, since it was done last; that is cheaply asked. And every
        so often all the same: rows may go without their services, such as with a person.
        """
        people = self._hub.topics.people()
        if not people:
            return
        stamp, self._skipped = await run(queries.members_stamp), self._skipped + 1
        if stamp == self._stamp and self._skipped < COMPARE_EVERY:
            await self._hang_up_inactive(people)
        else:
            await self._compare(people)
            self._stamp, self._skipped = stamp, 0

    async def _hang_up_inactive(self, people: dict[int, Topic]) -> None:
        for person_id in people.keys() - await run(queries.active_among, list(people)):
            for outlet in people[person_id].outlets:
                outlet.hang_up(SIGNED_OUT)

    async def _compare(self, people: dict[int, Topic]) -> None:
        # Before the query: a room that is entered while it runs is not in its answer, and must not be left for that.
        rooms_of = self._hub.topics.rooms_of
        heard = {outlet: rooms_of(outlet) for topic in people.values() for outlet in topic.outlets}
        allowed = await run(queries.rooms_by_person, list(people))
        for person_id, topic in people.items():
            for outlet in topic.outlets & heard.keys():
                if person_id in allowed:
                    await self._match(outlet, person_id, heard[outlet], allowed[person_id])
                else:
                    outlet.hang_up(SIGNED_OUT)

    async def _match(self, outlet: Outlet, person_id: int, heard: set[int], allowed: set[int]) -> None:
        for room_id in heard - allowed:
            self._hub.leave(outlet, room_topic(room_id))
            outlet.push(frames.removed(room_id))
        missed = allowed - self._hub.topics.rooms_of(outlet)
        if missed and outlet in self._hub.topics:
            await self._hub.follow(outlet, missed)
            for room_id in await self._still(outlet, person_id, missed):
                outlet.push(frames.added(room_id))

    async def _still(self, outlet: Outlet, person_id: int, missed: set[int]) -> set[int]:
        """Asked again once they are followed: news of a removal may have come before, and found nothing to end."""
        allowed: set[int] = set()
        try:
            states = await run(queries.states, missed)
            allowed = missed & (await run(queries.rooms_by_person, [person_id])).get(person_id, set())
            self._hub.began({room_id: states[room_id].version for room_id in allowed & states.keys()})
        finally:  # also when the database has gone away: a room that has not begun delivers nothing, and is left
            for room_id in missed - allowed:
                self._hub.leave(outlet, room_topic(room_id))
        return allowed
