"""What was published is appended to the rooms' hot histories: beside the publisher, many batches at a time.

At most one pipeline is on its way, and the next one goes some time later with all that came meanwhile: so the cost is
bounded, however much is said. What is left out here leaves a history behind, and the next reader takes it on.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from redis.exceptions import RedisError

from intellicolab.redis.client import Purpose, Role, async_client
from intellicolab.redis.scripts import Run, arun_each

from . import hot_messages
from .hot_messages import Content

logger = logging.getLogger("realtime")

PAUSE = 0.05  # seconds between two pipelines; a reader who comes meanwhile reads what is new from the database
SHARE = 0.05  # of the publisher's time; a pipeline that took longer is followed by a longer pause
MAX_ROOMS = 500  # in a pipeline
MAX_FRAMES = 100  # of one room in a pipeline, and of one batch more; in a room so busy every page is behind at once


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
        self._woken = asyncio.Event()

    def note(self, room_id: int, first: int, last: int, frames: Iterable[str]) -> None:
        """Never waits. What does not follow what waits is left out: another process has what lies between."""
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
            began = time.monotonic()
            try:
                await self.append()
            except Exception:  # a fault of ours must not end it until a restart
                logger.exception("The rooms' histories could not be appended to")
            await asyncio.sleep(max(PAUSE, (time.monotonic() - began) / SHARE))

    async def append(self) -> None:
        """What waits, in one round trip; without Redis, it is dropped."""
        waiting, self._waiting = self._waiting, {}
        runs = [run for room_id, news in waiting.items() if (run := _run(room_id, news)) is not None]
        if not runs or not hot_messages.breaker.ready():
            return
        try:
            await arun_each(async_client(Role.CACHE, Purpose.FAST), runs)
        except (RedisError, OSError) as error:
            hot_messages.breaker.failed(error)
        else:
            hot_messages.breaker.succeeded()


def _run(room_id: int, news: _News) -> Run | None:
    return hot_messages.appending(room_id, news.first, news.last, _told_last(news.frames))


def _told_last(frames: Iterable[str]) -> list[Content]:
    """Each message as it was told of last."""
    found = {}
    for text in frames:
        frame = msgspec.json.decode(text)
        if frame.get("type") == "message.new":
            found[frame["number"]] = frame
    return list(found.values())
