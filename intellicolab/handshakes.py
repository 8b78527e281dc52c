"""WebSocket handshakes that take turns on the event loop of a server."""

import asyncio
from collections import deque
from collections.abc import Callable

AT_ONCE = 2  # in each turn of the loop; one alone makes a crowd's turns, which cost too, a tenth of its work


class Handshakes:
    """A crowd that connects at once must not keep all others from their turn."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], object]] = deque()

    def later(self, loop: asyncio.AbstractEventLoop, handshake: Callable[[], object]) -> None:
        """Whatever one raises goes to the loop's handler, as from any other callback; the next ones have their turn."""
        self._waiting.append(handshake)
        if len(self._waiting) == 1:
            loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(min(AT_ONCE, len(self._waiting))):
            loop.call_soon(self._waiting.popleft())
        if self._waiting:
            loop.call_soon(self._next, loop)


handshakes = Handshakes()
