"""What was published is appended to the rooms' hot histories: beside the publisher, many batches at a time.

At most one pipeline is on its way, and the next one goes some time later with all that came meanwhile: so the cost does
not grow with the batches. What is dropped here leaves a history behind, and the next reader takes it on.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from redis.exceptions import RedisError

from intellicolab.redis.client import Purpose, Role, async_client
from intellicolab.redis.scripts import Run, arun_each

from . import hot_messages
from .hot_messages import KEEP, Content

logger = logging.getLogger("realtime")

PAUSE = 0.05  # seconds between two pipelines; a reader who comes meanwhile reads what is new from the database
COLD_SECONDS = 5.0  # that a room without a history is left alone
MAX_ROOMS = 1_000  # whose news waits, or that are known to be cold
MAX_FRAMES = 1_000  # of one room that wait


@dataclass(slots=True)
class _News:
    """Frames of the consecutive versions `first..last` of one room."""

    first: int
    last: int
    frames: list[str]

    def follows(self, first: int) -> bool:
        return first == self.last + 1 and len(self.frames) < MAX_FRAMES


class Appender:
    """Of one event loop: `note` what was published, and have `keep` run beside it."""

    def __init__(self) -> None:
        self._waiting: dict[int, _News] = {}
        self._cold: dict[int, float] = {}  # until when
        self._woken = asyncio.Event()

    def note(self, room_id: int, first: int, last: int, frames: Sequence[str]) -> None:
        """Never waits. What does not follow what waits is left out: another process has what lies between."""
        if self._cold.get(room_id, 0.0) > time.monotonic():
            return
        news = self._waiting.get(room_id)
        if news is not None and news.follows(first):
            news.frames += frames
            news.last = last
        elif news is None and len(self._waiting) < MAX_ROOMS:
            self._waiting[room_id] = _News(first, last, list(frames))
            self._woken.set()

    async def keep(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self.append()
            except Exception:  # a fault of ours must not end it until a restart
                logger.exception("The rooms' histories could not be appended to")
            await asyncio.sleep(PAUSE)

    async def append(self) -> None:
        """What waits, in one round trip; without Redis, it is dropped."""
        waiting, self._waiting = self._waiting, {}
        runs = {room_id: run for room_id, news in waiting.items() if (run := _run(room_id, news)) is not None}
        if not runs or not hot_messages.breaker.ready():
            return
        try:
            answers = await arun_each(async_client(Role.CACHE, Purpose.FAST), list(runs.values()))
        except (RedisError, OSError) as error:
            hot_messages.breaker.failed(error)
        else:
            hot_messages.breaker.succeeded()
            self._note_cold(room_id for room_id, answer in zip(runs, answers, strict=True) if answer == NONE)

    def _note_cold(self, rooms: Any) -> None:
        if len(self._cold) >= MAX_ROOMS:
            self._cold.clear()
        self._cold |= dict.fromkeys(rooms, time.monotonic() + COLD_SECONDS)


NONE = -1  # the script's answer for a room without a history


def _run(room_id: int, news: _News) -> Run | None:
    return hot_messages.appending(room_id, news.first, news.last, _newest(news.frames))


def _newest(frames: Sequence[str]) -> list[Content]:
    """Each message as it was told of last; of so many that the others would be trimmed, only those that stay."""
    found = {}
    for text in frames:
        frame = msgspec.json.decode(text)
        if frame.get("type") == "message.new":
            found[frame["number"]] = frame
    most = max(found, default=0) - KEEP
    return [frame for number, frame in found.items() if number > most]
