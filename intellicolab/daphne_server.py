"""Daphne with prepared frames, and with what it leaves out of a streamed answer: waiting for a slow reader, and cutting
off what broke.

Its own `send` never waits, so a slow reader's whole answer would lie in memory. And where a stream raises after its
first part, its periodic check raises too and never runs again: the client waits for ever, and so does the memory of
every connection after it.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from autobahn.websocket import protocol
from daphne import server, ws_protocol
from daphne.http_protocol import HTTPFactory, WebRequest
from twisted.internet import reactor as running_reactor
from twisted.internet import tcp, unix
from twisted.internet.interfaces import IPushProducer
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import implementer

from realtime.errors import TOO_SLOW
from realtime.outlet import MAX_WAITING_BYTES

from .handshakes import handshakes
from .prepared import CLOSE_SECONDS, Proof, changed, offer

logger = logging.getLogger("intellicolab")

Message = dict[str, Any]
reactor: Any = running_reactor  # Twisted's own type is that of a module

# Connections in each turn of the reactor: a crowd that connects at once must not keep all others from their turn.
ACCEPT_AT_ONCE = 2

PROOF = Proof("Daphne", daphne="4.2", twisted="26.10", autobahn="26.10")
PLAIN = (tcp.Server, unix.Server)
PROTOCOL = {"state": int, "STATE_OPEN": int, "send_queue": deque}
BUFFER = {"dataBuffer": bytes, "offset": int, "_tempDataLen": int}
TRANSPORT = {
    **BUFFER,
    "socket": socket.socket,
    "TLS": bool,
    "connected": int,
    "disconnecting": int,
    "_writeDisconnecting": bool,
    "_writeDisconnected": bool,
    "_aborting": bool,
}


class Server(server.Server):
    """Daphne's server; the reactor is installed when this module is imported."""

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        if scope["type"] == "websocket" and takes_prepared(protocol):
            offer(scope, Writer(protocol).write)
        queue = super().create_application(protocol, scope)
        application = self.connections.get(protocol, {}).get("application_instance")
        if application and isinstance(protocol, WebRequest):
            application.add_done_callback(partial(cut_off, protocol))
        return queue

    def listen_success(self, port: Any) -> None:
        """Twisted takes up to a hundred connections, and more each time, before it reads from any that is there."""
        super().listen_success(port)
        port.doRead = partial(accept_few, port, port.doRead)

    async def handle_reply(self, protocol: Any, message: Message) -> None:
        """Hand the message to the protocol; for a part of a stream, returns when the reader keeps up."""
        if message["type"] != "http.response.body":
            return await super().handle_reply(protocol, message)
        more = message.get("more_body", False)
        watch(protocol, more)
        await super().handle_reply(protocol, message)
        if more and protocol.producer:
            await protocol.producer.low.wait()
        return None


def accept_few(port: Any, accept: Callable[[], None]) -> None:
    port.numberAccepts = ACCEPT_AT_ONCE
    accept()


class Request(WebRequest):
    """One request of a connection; that of a handshake waits for its turn."""

    def process(self) -> Any:
        if not self.requestHeaders.hasHeader(b"Upgrade"):
            return super().process()
        handshakes.later(asyncio.get_event_loop(), self._process_if_connected)
        return None

    def _process_if_connected(self) -> None:
        if self.channel is not None:
            super().process()


class Factory(HTTPFactory):
    def buildProtocol(self, addr: Any) -> Any:
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = Request
        return protocol


class WebSocketProtocol(ws_protocol.WebSocketProtocol):
    """Daphne's, without the line that Autobahn formats and colours for each frame, and then drops unlogged.

    Daphne's `send` never waits, so this is also where a client that does not read is found, if its frames don't come
    prepared: when MAX_WAITING_BYTES lie in the transport, a close frame goes behind them.
    """

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        if sync or chopsize or self.send_queue or self.state != self.STATE_OPEN:
            super().sendData(data, sync, chopsize)
        else:
            self.transport.write(data)
            self.trafficStats.outgoingOctetsWireLevel += len(data)

    def serverSend(self, content: str | bytes, binary: bool = False) -> None:
        if self.state == self.STATE_OPEN and waiting_bytes(self.transport) > MAX_WAITING_BYTES:
            logger.info("A socket that does not read is closed")
            self.serverClose(TOO_SLOW)
        else:
            super().serverSend(content, binary)

    def serverClose(self, code: int | None = None) -> None:
        """Autobahn cuts the connection 1 s later, too soon for a slow client to read on to the close frame."""
        if waiting_bytes(self.transport):
            self.closeHandshakeTimeout = CLOSE_SECONDS
        super().serverClose(code)

    def dropConnection(self, abort: bool = False) -> None:
        """Autobahn's waits, after the client's own close frame, for ever until that has read what lies before."""
        if not abort and waiting_bytes(self.transport):
            reactor.callLater(CLOSE_SECONDS, self.transport.abortConnection)
        super().dropConnection(abort)


server.HTTPFactory = Factory
ws_protocol.WebSocketFactory.protocol = WebSocketProtocol
# For each connection Autobahn lays out all its settings, for a line that it then drops unlogged: a tenth of the work.
protocol.pformat = str


def waiting_bytes(transport: Any) -> int:
    """What was written to a connection and has not reached the kernel; 0 where a Twisted does not show it."""
    while isinstance(transport, ProtocolWrapper):  # TLS wraps the transport whose buffer is meant
        transport = transport.transport
    return 0 if changed(transport, BUFFER) else len(transport.dataBuffer) - transport.offset + transport._tempDataLen


def takes_prepared(protocol: Any) -> bool:
    """Plain sockets only: below TLS, Twisted's or one begun later, the bytes would go out in clear."""
    transport = protocol.transport
    if type(transport) not in PLAIN or not PROOF.covers(transport, TRANSPORT):
        return False
    return not transport.TLS and PROOF.covers(protocol, PROTOCOL)


class Writer:
    """Writes to one connection, past Autobahn and, while it keeps up, past Twisted's buffer.

    For each frame Twisted would register the socket with epoll, write in the next turn, and unregister it.
    """

    __slots__ = ("_protocol", "_send", "_transport")

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._send = protocol.transport.socket.send

    def write(self, data: bytes) -> int | None:
        """See `prepared.Write`. What lies in the transport already, a ping or half a frame, goes first."""
        if not self._is_open():
            return None
        transport = self._transport
        waiting = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
        sent = 0 if waiting else self._send_now(data)
        if sent < len(data):
            transport.write(data[sent:])
        return int(waiting + len(data) - sent)

    def _is_open(self) -> bool:
        protocol, transport = self._protocol, self._transport
        if protocol.state != protocol.STATE_OPEN or protocol.send_queue or not transport.connected:
            return False
        half_closed = transport._writeDisconnecting or transport._writeDisconnected
        return not (transport.disconnecting or half_closed or transport._aborting or transport.TLS)

    def _send_now(self, data: bytes) -> int:
        try:
            return int(self._send(data))
        except OSError:  # full, or broken: then Twisted finds out with the same bytes and ends the connection
            return 0


@implementer(IPushProducer)
class Pressure:
    """Twisted tells it when the connection's buffer is full (64 KB), empty again, or gone."""

    def __init__(self) -> None:
        self.low = asyncio.Event()
        self.low.set()

    def pauseProducing(self) -> None:
        self.low.clear()

    def resumeProducing(self) -> None:
        self.low.set()

    def stopProducing(self) -> None:
        self.low.set()


def watch(protocol: WebRequest, more: bool) -> None:
    """Watch the connection's buffer from the first part of a stream to its end."""
    if more and protocol.channel and protocol.producer is None:
        protocol.registerProducer(Pressure(), True)
    elif not more and protocol.channel and protocol.producer:
        protocol.unregisterProducer()


def cut_off(protocol: WebRequest, application: "asyncio.Task[None]") -> None:
    """Close the connection of an answer that began and will not end, so that nobody takes the part for the whole."""
    if protocol._response_started and not protocol.finished and protocol.channel:
        protocol.loseConnection()
