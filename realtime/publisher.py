"""From a commit to the channel layer: in order, off the path of whoever committed, and never waiting long for Redis.

The publisher has a thread and an event loop of its own, and so a channel-layer connection of its own: a paused Redis
holds up neither the commits nor the hub's subscriptions (both share one lock inside a layer). What it drops, the hubs
read from the database.
"""

import asyncio
import atexit
import logging
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from intellicolab.redis.client import aclose

from .appending import Appender

logger = logging.getLogger("realtime")

DEADLINE = 0.25  # seconds from the commit to the channel layer; older news is left to the hubs' healing
MAX_WAITING = 10_000  # batches; beyond it the oldest go, which the hubs heal too
MAX_FRAMES = 100  # a batch; a larger one is sent in parts, so that no single publish holds the link for long


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames for one topic. Those of `room` carry the versions `first..last`, one a frame.

    Others carry none (0, 0); `left` is the room that the person is no longer in, else 0; sockets of the `ended`
    sessions (hashes) are closed with `code`.
    """

    topic: str
    frames: list[str]
    first: int = 0
    last: int = 0
    left: int = 0
    ended: list[str] = field(default_factory=list)
    code: int = 0
    room: int = 0
    made: float = field(default_factory=time.monotonic)

    def as_layer_message(self) -> dict[str, Any]:
        return {
            "topic": self.topic,
            "frames": self.frames,
            "first": self.first,
            "last": self.last,
            "left": self.left,
            "ended": self.ended,
            "code": self.code,
        }


def room_topic(room_id: int) -> str:
    return f"room.{room_id}"


def person_topic(user_id: int) -> str:
    return f"person.{user_id}"


class Publisher:
    """One a process, started by the first batch. `publish` may be called from any thread and never waits."""

    def __init__(self) -> None:
        # Of the thread that serves. One that is stopped keeps its own until it is empty.
        self._waiting: deque[Batch] = deque(maxlen=MAX_WAITING)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._news: asyncio.Event | None = None
        self.dropped = 0

    def publish(self, batch: Batch) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._start()
            self._waiting.append(batch)
            assert self._loop is not None
            assert self._news is not None
            self._wake(self._loop, self._news)

    def publish_room(self, room_id: int, frames: list[str], first: int) -> None:
        """Frames of consecutive versions that begin at `first`."""
        for start in range(0, len(frames), MAX_FRAMES):
            part = frames[start : start + MAX_FRAMES]
            self.publish(Batch(room_topic(room_id), part, first + start, first + start + len(part) - 1, room=room_id))

    def publish_person(self, user_id: int, frame: str, left: int = 0) -> None:
        self.publish(Batch(person_topic(user_id), [frame], left=left))

    def publish_ended(self, user_id: int, sessions: list[str], code: int) -> None:
        """Have every process close the sockets of these sessions."""
        self.publish(Batch(person_topic(user_id), [], ended=sessions, code=code))

    def stop(self) -> None:
        """Send what waits, then end the thread; bounded by the batches' own deadline."""
        with self._lock:
            thread, loop, news = self._thread, self._loop, self._news
            self._thread = self._loop = self._news = None
            self._waiting = deque(maxlen=MAX_WAITING)
        if thread is not None and loop is not None and news is not None:
            self._wake(loop, news)
            thread.join(timeout=2 * DEADLINE)

    @staticmethod
    def _wake(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
        """Never raises: whoever publishes has committed already."""
        with suppress(RuntimeError):  # the loop has just been closed; the hubs heal what it did not send
            loop.call_soon_threadsafe(news.set)

    def _start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._news = asyncio.Event()
        serving = (self._loop, self._news, self._waiting)
        self._thread = threading.Thread(target=self._run, args=serving, name="publisher", daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    def _run(self, loop: asyncio.AbstractEventLoop, news: asyncio.Event, waiting: deque[Batch]) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._publish_all(news, waiting))
        finally:
            loop.close()

    async def _publish_all(self, news: asyncio.Event, waiting: deque[Batch]) -> None:
        layer, appender = get_channel_layer(), Appender()
        appending = asyncio.create_task(appender.keep())
        try:
            while True:
                while waiting:
                    batch = waiting.popleft()
                    if await self._send(layer, batch) and batch.room:
                        appender.note(batch.room, batch.first, batch.last, batch.frames)
                if self._waiting is not waiting:
                    return
                await news.wait()
                news.clear()
        finally:
            appending.cancel()
            await asyncio.wait([appending])
            await layer.flush()
            await aclose()

    async def _send(self, layer: Any, batch: Batch) -> bool:
        """Whether it went, and in good time: who lags behind has other things to do than to append."""
        left = batch.made + DEADLINE - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            await asyncio.wait_for(layer.group_send(batch.topic, batch.as_layer_message()), left)
        except (TimeoutError, RedisError, OSError):
            self._drop()
        except Exception:  # the thread must live: without it nothing would be published until a restart
            logger.exception("A batch for %s could not be published", batch.topic)
        else:
            if self.dropped:
                logger.info("Publishing again; %d batches were left to the hubs' healing", self.dropped)
                self.dropped = 0
            return left > DEADLINE / 2
        return False

    def _drop(self) -> None:
        if not self.dropped:
            logger.warning("Redis does not take what was committed; open rooms read it from the database")
        self.dropped += 1


publisher = Publisher()
