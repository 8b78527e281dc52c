"""What sockets have noted by the way: that a device is in use, that somebody was here until now.

Nobody waits for a note, and it takes several round trips to Redis. So they are made one after the other in one thread:
a crowd that comes or goes together would otherwise fill all threads with them, and keep others from their answers.
"""

import asyncio
import logging
import time
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial

from intellicolab.threads import run

logger = logging.getLogger("realtime")

MOST_WAITING = 10_000  # beyond it the oldest go: a note is a convenience
DRAIN_SECONDS = 3.0
AT_ONCE = 20  # notes in one hop to a thread, which others then get a turn in

Note = Callable[[], None]


class Notes:
    """Those of one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[Note] = deque(maxlen=MOST_WAITING)
        self._making: asyncio.Task[None] | None = None

    @classmethod
    def here(cls) -> "Notes":
        """The running loop's."""
        return _of_loop.setdefault(asyncio.get_running_loop(), cls())

    def leave(self, note: Callable[..., None], *arguments: object) -> None:
        """Have `note` called with these in a thread, soon."""
        self._waiting.append(partial(note, *arguments))
        if self._making is None:
            self._making = asyncio.ensure_future(self._make_all())

    @property
    def waits(self) -> bool:
        return bool(self._waiting)

    async def _make_all(self) -> None:
        try:
            while self._waiting:
                await run(self.make, AT_ONCE)
        finally:
            self._making = None

    def make(self, most: int) -> None:
        """Make so many of the notes that wait. Blocks."""
        for _ in range(most):
            try:
                note = self._waiting.popleft()
            except IndexError:  # there are none, or `drain` took the last ones
                return
            try:
                note()
            except Exception:  # of one person's note; the others' must be made all the same
                logger.exception("The use of chat could not be noted")


_of_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Notes]" = weakref.WeakKeyDictionary()


def drain() -> None:
    """Make what still waits when the process ends, for a while; the rest is lost, which a note may be."""
    ends = time.monotonic() + DRAIN_SECONDS
    for notes in list(_of_loop.values()):
        while notes.waits and time.monotonic() < ends:
            notes.make(AT_ONCE)
