"""Answers to `room.resume`, each read once for all who ask the same at the same time."""

import asyncio
from collections.abc import Callable

from intellicolab.threads import run

from . import changes, frames
from .changes import Changes
from .errors import ChatError
from .models import Room


class Resumes:
    """A crowd that lost its connections together asks the same: who comes while a read is on its way waits for it."""

    def __init__(self) -> None:
        self._reading: dict[tuple[int, int], asyncio.Future[str]] = {}

    async def answer(self, room_id: int, version: int) -> str:
        """The frame for somebody who listens to the room. Raises ChatError no_room, DatabaseError."""
        reading = self._reading.get((room_id, version))
        if reading is None:
            reading = asyncio.ensure_future(run(_frame, room_id, changes.since, room_id, version))
            self._reading[room_id, version] = reading
            reading.add_done_callback(lambda _: self._reading.pop((room_id, version), None))
        return await asyncio.shield(reading)  # whoever goes away must not take it from the others

    async def answer_to(self, user_id: int, room_id: int, version: int) -> str:
        """The same for one who does not listen to it yet, if they are in it. Raises as `answer`."""
        return await run(_frame, room_id, changes.told_to, user_id, room_id, version)


def _frame(room_id: int, read: Callable[..., Changes], *arguments: int) -> str:
    try:
        found = read(*arguments)
    except Room.DoesNotExist as error:
        raise ChatError("no_room") from error
    if found.reset:
        return frames.reset(room_id)
    return frames.changes(room_id, found.changes, found.upto, found.more)
