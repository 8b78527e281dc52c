"""What goes wrong, and when: drawn from a seed, so that a run can be had again."""

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

from .crowd import Member
from .installation import Installation

PAUSE_SECONDS = 5.0
BETWEEN_SECONDS = (0.5, 3.0)

Fault = Callable[[], Awaitable[None]]


class Faults:
    """Does one fault after another until it is cancelled; `done` counts them."""

    def __init__(self, running: Installation, members: list[Member], cookie: str, seed: int) -> None:
        self._running, self._members, self._cookie = running, members, cookie
        self._chance = random.Random(seed)
        self._deaf: list[socket.socket] = []
        self.done: Counter[str] = Counter()

    async def happen(self) -> None:
        kinds: dict[str, Fault] = {
            "web process killed": self._kill_web,
            "Redis killed": self._kill_redis,
            "Redis paused": self._pause_redis,
            "network cut": self._cut,
            "slow reader": self._stop_reading,
        }
        order: list[str] = []
        while True:
            # Each of them once before any comes again: a short run has them all.
            order = order or self._chance.sample(list(kinds), len(kinds))
            kind = order.pop()
            await kinds[kind]()
            self.done[kind] += 1
            await asyncio.sleep(self._chance.uniform(*BETWEEN_SECONDS))

    def end(self) -> None:
        for deaf in self._deaf:
            deaf.close()

    async def _kill_web(self) -> None:
        web = self._chance.choice(self._running.webs)
        await asyncio.to_thread(web.kill)
        await asyncio.sleep(self._chance.uniform(0, 1))
        web.start()

    async def _kill_redis(self) -> None:
        self._running.kill_redis()

    async def _pause_redis(self) -> None:
        self._running.pause_redis(True)
        try:
            await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._running.pause_redis(False)

    async def _cut(self) -> None:
        for member in self._chance.sample(self._members, 5):
            member.chat.cut()

    async def _stop_reading(self) -> None:
        """One more socket of the same room, whose client takes the handshake and then reads nothing."""
        url = self._chance.choice(self._running.urls)
        host, port = url.removeprefix("http://").split(":")
        lines = (
            "GET /ws/ HTTP/1.1", f"Host: {host}:{port}", f"Origin: {url}", f"Cookie: {self._cookie}",
            "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
        )  # fmt: skip
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._deaf.append(deaf)
        try:
            await asyncio.to_thread(deaf.connect, (host, int(port)))
            deaf.sendall("\r\n".join(lines).encode())
        except OSError:  # that process is down at the moment
            pass
