"""An application that sends what its client asks for, prepared and plain, for tests of the real servers."""

import asyncio
import json
from contextlib import suppress

from intellicolab.prepared import encode, encode_all, write_of

RESULTS: dict[str, list] = {}  # what the writer said, by the name of the socket that it was for
PART = 1000  # bytes of a frame


async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await Talk(scope, receive, send).run()


class Talk:
    def __init__(self, scope, receive, send):
        self.write, self.receive, self.send = write_of(scope), receive, send
        self.said = RESULTS.setdefault(scope["query_string"].decode(), [])

    async def run(self):
        await self.receive()
        self.note()
        await self.send({"type": "websocket.accept"})
        while (event := await self.receive())["type"] == "websocket.receive":
            request = json.loads(event["text"])
            await getattr(self, request.pop("do"))(**request)
        self.note()

    def note(self):
        """Try to write when the socket is not open."""
        self.said.append(self.write(encode("never")) if self.write else "not offered")

    async def plain(self, text):
        await self.send({"type": "websocket.send", "text": text})

    async def results(self, name):
        await self.plain(json.dumps(RESULTS.get(name, [])))

    async def offered(self):
        await self.plain(json.dumps(self.write is not None))

    async def sizes(self, sizes):
        for size in sizes:
            assert self.write(encode("ä" * (size // 2) + "." * (size % 2))) is not None

    async def mixed(self, first, count):
        """Numbered frames, by turns prepared alone, prepared by two, and plain."""
        for number in range(first, first + count, 4):
            self.write(encode(text_of(number)))
            self.write(encode_all([text_of(number + 1), text_of(number + 2)]))
            await self.plain(text_of(number + 3))

    async def fill(self, waiting, more=0):
        """Numbered frames until more than `waiting` bytes have not reached the kernel, then mixed ones."""
        number = 0
        while self.write(encode(text_of(number))) <= waiting:
            number += 1
        self.said.append(number)
        await self.mixed(number + 1, more)

    async def flood(self, frames):
        """Numbered plain frames; Daphne's `send` never waits."""
        for number in range(frames):
            await self.plain(text_of(number))
        self.said.append("flooded")

    async def close(self):
        with suppress(OSError):  # uvicorn's, when the client is gone before the close frame could go
            await self.send({"type": "websocket.close", "code": 4000})
        self.note()

    async def drip(self):
        """A frame each moment until the writer refuses."""
        while self.write(encode("drip")) is not None:
            await asyncio.sleep(0.01)
        self.said.append("refused")


def text_of(number):
    return f"{number} ".ljust(PART, "x")
