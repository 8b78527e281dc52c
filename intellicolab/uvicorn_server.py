"""uvicorn's WebSocket protocol with prepared frames, with handshakes that take turns, and with an end for a client
that never reads.

Its own `transport.close()` waits for the buffer to empty: for ever, where the client keeps the connection and reads
nothing.
"""

import asyncio
from asyncio import selector_events
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.protocol import State
from websockets.server import ServerProtocol

from .handshakes import handshakes
from .prepared import CLOSE_SECONDS, Proof, offer

PROOF = Proof("uvicorn", uvicorn="0.54", websockets="17")
INSIDE = {
    "conn": ServerProtocol,
    "handshake_complete": bool,
    "close_sent": bool,
    "disconnected": bool,
}
CONNECTION = {"state": State, "writes": list}


def plain_transports() -> Iterator[type]:
    """TCP and Unix sockets, of asyncio and uvloop; those of TLS are other classes."""
    yield selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    try:
        loop: Any = import_module("uvloop.loop")
    except ImportError:  # there is none for Windows
        return
    yield from (loop.TCPTransport, loop.UnixTransport)


PLAIN = frozenset(plain_transports())


class Protocol(WebSocketsSansIOProtocol):
    """For `uvicorn --ws`; the server makes one a connection."""

    _end: asyncio.TimerHandle | None = None
    _request: bytes | None = b""  # what has come of the handshake, until it has its turn

    def data_received(self, data: bytes) -> None:
        if self._request is None:
            super().data_received(data)
            return
        if not self._request:
            handshakes.later(self.loop, self._shake_hands)
        self._request += data

    def _shake_hands(self) -> None:
        request, self._request = self._request, None
        if request and not self.transport.is_closing():
            super().data_received(request)

    async def run_asgi(self) -> None:
        if type(self.transport) in PLAIN and PROOF.covers(self, INSIDE) and PROOF.covers(self.conn, CONNECTION):
            offer(self.scope, self.write_prepared)  # type: ignore[arg-type]
        try:
            await super().run_asgi()
        finally:
            self._end_soon()

    def write_prepared(self, data: bytes) -> int | None:
        """See `prepared.Write`. The transport keeps the order, so what waits already is no reason to refuse."""
        if not self.handshake_complete or self.conn.state is not State.OPEN or self.conn.writes:
            return None
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return None
        self.transport.write(data)
        return self.transport.get_write_buffer_size()

    async def send(self, message: Any) -> None:
        """uvicorn's, which waits with a close frame, too, until the client has read what lies before it."""
        if message["type"] == "websocket.close":
            self._end_soon()
        await super().send(message)

    def handle_close(self, event: Frame) -> None:
        super().handle_close(event)
        self._end_soon()

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self._end_soon()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._end_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._end is not None:
            self._end.cancel()

    def _end_soon(self) -> None:
        """However it ends: what the client does not read must not stay here for ever."""
        if self._end is None and not self.disconnected:
            self._end = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)
