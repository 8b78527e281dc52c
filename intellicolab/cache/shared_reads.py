"""Reads of one name by many tasks of one event loop, as few round trips.

A task must not take the answer of a read that was sent before the task began: an invalidation may lie between the two.
So who comes while a read is on its way waits for the next one, which is sent when that has come back, and takes it
together with all who wait by then.
"""

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

Send = Callable[[str], Awaitable[Any]]


class SharedReads:
    """Of one event loop; `here()` gives it."""

    _loops: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, SharedReads]" = weakref.WeakKeyDictionary()

    def __init__(self) -> None:
        self._sent: dict[str, asyncio.Event] = {}
        self._next: dict[str, asyncio.Future[Any]] = {}

    @classmethod
    def here(cls) -> "SharedReads":
        loop = asyncio.get_running_loop()
        found = cls._loops.get(loop)
        if found is None:
            found = cls._loops[loop] = cls()
        return found

    async def get(self, name: str, send: Send) -> Any:
        """The answer of a read that is sent from now on. Raises what `send` raises."""
        while True:
            on_its_way = self._sent.get(name)
            if on_its_way is None:
                return await self._read(name, send)
            following = self._next.get(name)
            if following is None:
                return await self._lead(name, send, on_its_way)
            await asyncio.wait([following])
            if not following.cancelled():  # else its leader was, and one of us leads now
                return following.result()

    async def _read(self, name: str, send: Send) -> Any:
        self._sent[name] = back = asyncio.Event()
        try:
            return await send(name)
        finally:
            if self._sent.get(name) is back:  # a leader that woke late may have sent another meanwhile
                del self._sent[name]
            back.set()

    async def _lead(self, name: str, send: Send, on_its_way: asyncio.Event) -> Any:
        self._next[name] = following = asyncio.get_running_loop().create_future()
        try:
            try:
                await on_its_way.wait()
            finally:
                del self._next[name]  # who comes from here on begins after this read was sent
            answer = await self._read(name, send)
        except BaseException as error:
            _fail(following, error)
            raise
        following.set_result(answer)
        return answer


def _fail(following: "asyncio.Future[Any]", error: BaseException) -> None:
    """Redis's error is everyone's; one reader's cancellation is its own."""
    if isinstance(error, Exception):
        following.set_exception(error)
        following.exception()  # nobody may have waited for it
    else:
        following.cancel()
