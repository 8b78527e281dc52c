"""Sockets of a crowd, fast enough not to be what is measured: picows, and no more Python a frame than counting takes.

A job says how to speak to a server: {"url", "origin", "cookies": [one a person, or none], "frame": what a message is
sent as, "marker": how one that is delivered begins, "joined": how the frame begins that says that a socket is in the
room ("": the handshake does)}. Socket.IO is spoken over the bare WebSocket (Engine.IO 4, text).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

CONNECT_SECONDS = 60.0
AT_ONCE = 50  # handshakes on their way while a crowd gathers

M = TypeVar("M", bound="Member")


class Member(WSListener):
    """One socket. It counts the messages that are delivered to it, and the errors."""

    def __init__(self, job: dict) -> None:
        self.frame: str = job["frame"]
        self.marker: bytes = job["marker"].encode()
        self.greeting: bytes = job["joined"].encode()
        self.joined: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.deliveries = 0
        self.errors = 0
        self.leaving = self.lost = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        if not self.greeting:
            self.joined.set_result(b"")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.lost = not self.leaving
        if not self.joined.done():
            self.joined.set_exception(ConnectionError("closed before it was in the room"))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        if payload.startswith(self.marker):
            self.deliveries += 1
            self.delivered(payload)
        elif frame.msg_type == WSMsgType.TEXT:
            self.told(payload)

    def delivered(self, payload: bytes) -> None:
        """A message came; it is counted already."""

    def told(self, payload: bytes) -> None:
        if payload == b"2":  # Engine.IO's ping
            self.send("3")
        elif payload.startswith(b"0{"):  # Engine.IO is open; now Socket.IO's main namespace is entered
            self.send("40")
        elif self.greeting and payload.startswith(self.greeting):
            self.joined.set_result(payload)
        else:
            self.answered(payload)

    def answered(self, payload: bytes) -> None:
        """Anything else."""
        self.errors += b'"type":"error"' in payload[:40]

    def send(self, text: str) -> None:
        self.transport.send(WSMsgType.TEXT, text.encode())

    def leave(self) -> None:
        """At once, without a closing handshake."""
        self.leaving = True
        self.transport.disconnect(graceful=False)


async def connect(job: dict, member: M, number: int) -> M:
    """The socket of the person of that number; returns when it is in the room."""
    headers = [("Origin", job["origin"])]
    if job["cookies"]:
        headers.append(("Cookie", job["cookies"][number % len(job["cookies"])]))
    await ws_connect(
        lambda: member, job["url"], extra_headers=headers, websocket_handshake_timeout=CONNECT_SECONDS
    )  # fmt: skip
    await asyncio.wait_for(member.joined, CONNECT_SECONDS)
    return member


async def gather(job: dict, make: Callable[[dict], M], numbers: Iterable[int], at_once: int = AT_ONCE) -> list[M]:
    """A crowd of the people of these numbers, in the room."""
    gate = asyncio.Semaphore(at_once)

    async def one(number: int) -> M:
        async with gate:
            return await connect(job, make(job), number)

    return await asyncio.gather(*(one(number) for number in numbers))


async def until(reached: Callable[[], bool], seconds: float) -> bool:
    """Whether it was within so many seconds."""
    end = time.perf_counter() + seconds
    while not reached() and time.perf_counter() < end:  # noqa: ASYNC110  counted by what must stay cheap
        await asyncio.sleep(0.02)
    return reached()


async def paced(count: int, seconds: float, act: Callable[[int], Awaitable[None] | None]) -> None:
    """Call `act` so many times, at an even pace that no slow call shifts."""
    began = time.perf_counter()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number * seconds - time.perf_counter()))
        act(number)
