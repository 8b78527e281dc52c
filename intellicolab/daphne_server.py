"""Daphne with cheaper frames, and with what it leaves out of a streamed answer: waiting for a slow reader, and cutting
off what broke.

Its own `send` never waits, so a slow reader's whole answer would lie in memory. And where a stream raises after its
first part, its periodic check raises too and never runs again: the client waits for ever, and so does the memory of
every connection after it.
"""

import asyncio
import logging
from functools import partial
from typing import Any

from daphne import server, ws_protocol
from daphne.http_protocol import WebRequest
from twisted.internet.interfaces import IPushProducer
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import implementer

from realtime.outlet import MAX_WAITING_BYTES

logger = logging.getLogger("intellicolab")

Message = dict[str, Any]


class Server(server.Server):
    """Daphne's server; the reactor is installed when this module is imported."""

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        queue = super().create_application(protocol, scope)
        application = self.connections.get(protocol, {}).get("application_instance")
        if application and isinstance(protocol, WebRequest):
            application.add_done_callback(partial(cut_off, protocol))
        return queue

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


class WebSocketProtocol(ws_protocol.WebSocketProtocol):
    """Daphne's, without the line that Autobahn formats and colours for each frame, and then drops unlogged.

    Daphne's `send` never waits, so this is also where a client that does not read is found: its connection is cut when
    MAX_WAITING_BYTES lie in the transport. A close frame would only queue behind them.
    """

    cut_off = False

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        if sync or chopsize or self.send_queue or self.state != self.STATE_OPEN:
            super().sendData(data, sync, chopsize)
        elif self.cut_off:
            return  # several frames may come before Twisted tells that the connection is gone
        elif waiting_bytes(self.transport) > MAX_WAITING_BYTES:
            logger.info("A socket that does not read was cut off")
            self.cut_off = True
            self.transport.abortConnection()
        else:
            self.transport.write(data)
            self.trafficStats.outgoingOctetsWireLevel += len(data)


ws_protocol.WebSocketFactory.protocol = WebSocketProtocol


def waiting_bytes(transport: Any) -> int:
    """What was written to a connection and has not reached the kernel (Twisted's abstract.FileDescriptor, 26.10)."""
    while isinstance(transport, ProtocolWrapper):  # TLS wraps the transport whose buffer is meant
        transport = transport.transport
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen


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
