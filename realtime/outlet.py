"""What goes out on one socket: at once while it keeps up, through a bounded queue while it does not."""

import asyncio
import logging
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

from intellicolab.prepared import Write, encode

from .errors import TOO_SLOW
from .figures import figures

logger = logging.getLogger("realtime")

Send = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]

# Bytes that may wait for one socket. A client that is this far behind gets the room faster by resuming than by
# reading on: 1 MiB is some 3,000 messages, and a resume is bounded at 2,000.
MAX_WAITING_BYTES = 1024 * 1024


class Outlet:
    """One socket's way out. `push` never waits and never raises: one slow reader can't hold up the rest.

    With prepared frames (`write`) a push is one write to the transport, without task and coroutine. Where the server
    does not offer them, or no longer because the socket is closing, a plain `send` that completes at once, as Daphne's
    always does and uvicorn's does until the socket's buffer is full, costs no task. One that has to wait goes on in a
    task, and what comes meanwhile queues behind it, prepared or not. A socket that more than MAX_WAITING_BYTES wait
    for is hung up with TOO_SLOW.
    """

    __slots__ = ("_bytes", "_hang_up", "_queue", "_released", "_send", "_task", "_write", "closed", "session")

    def __init__(self, send: Send, hang_up: Callable[[int], None], write: Write | None = None) -> None:
        self._send = send
        self._write = write
        self._hang_up = hang_up
        self._queue: deque[str] | None = None  # made when it is needed: an empty one takes 760 bytes
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._released = False
        self.session = ""  # the hash of the session that it was opened with
        self.closed = False

    def push(self, frame: str) -> None:
        if self.closed:
            return
        if not self._released or self._task is not None:
            self._enqueue(frame)
        elif self._write is None or not self._written(encode(frame)):
            self._send_now(frame)

    def push_all(self, frames: list[str], data: bytes) -> None:
        """Frames that go to many sockets; `data` is all of them as they go over the wire, encoded once for all."""
        if self.closed:
            return
        if self._write is None or not self._released or self._task is not None or not self._written(data):
            for frame in frames:
                self.push(frame)

    def release(self, first: str) -> None:
        """Send `first`, then what was pushed until now: nothing goes out before it."""
        held, self._queue = self._queue or (), None
        self._bytes, self._released = 0, True
        for frame in [first, *held]:
            self.push(frame)

    def hang_up(self, code: int) -> None:
        """Send nothing more and have the socket closed with this code; a second call does nothing."""
        if not self.closed:
            self.close()
            figures.hung_up(code)
            self._hang_up(code)

    def close(self) -> None:
        self.closed = True
        self._queue = None
        if self._task is not None:
            self._task.cancel()

    def _written(self, data: bytes) -> bool:
        assert self._write is not None
        waiting = self._write(data)
        if waiting:
            self._keep_bounded(waiting, waiting - len(data))
        return waiting is not None

    def _keep_bounded(self, waiting: int, before: int) -> None:
        """What counts is what lay there before: one large batch must not end a socket that keeps up."""
        figures.waits(waiting)
        if before > MAX_WAITING_BYTES:
            self._give_up()

    def _give_up(self) -> None:
        logger.info("A socket that does not read is closed")
        self.hang_up(TOO_SLOW)

    def _send_now(self, frame: str) -> None:
        sending = self._send({"type": "websocket.send", "text": frame})
        try:
            waits_for = sending.send(None)
        except StopIteration:
            return
        except (OSError, RuntimeError):  # the client went away between two frames; the server says so next
            self.closed = True
            return
        self._task = asyncio.ensure_future(self._finish(_resume(sending, waits_for)))

    def _enqueue(self, frame: str) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(frame)
        self._bytes += len(frame.encode())
        figures.waits(self._bytes)
        if self._bytes > MAX_WAITING_BYTES:
            self._give_up()

    async def _finish(self, sending: Awaitable[None]) -> None:
        try:
            await sending
            while self._queue:
                frame = self._queue.popleft()
                self._bytes -= len(frame.encode())
                await self._send({"type": "websocket.send", "text": frame})
        except (OSError, RuntimeError):
            self.closed = True
        finally:
            self._task = None


@types.coroutine
def _resume(started: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """Go on, in a task, with a coroutine that was begun by hand and has yielded the future it waits for."""
    while True:
        failure: BaseException | None = None
        try:
            value = yield waits_for
        except BaseException as error:  # a cancellation belongs to the coroutine, which may have to clean up
            failure = error
        try:
            waits_for = started.send(value) if failure is None else started.throw(failure)
        except StopIteration:
            return
