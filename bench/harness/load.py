"""An HTTP client that costs little: keep-alive connections that each send the next request when answered."""

import asyncio
import time
from typing import cast

import uvloop

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n"


class Connection(asyncio.Protocol):
    """Counts whole answers; needs Content-Length in each."""

    def __init__(self) -> None:
        self.buffer = b""
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        size = answer_size(self.buffer)
        if size and len(self.buffer) >= size:
            self.buffer = self.buffer[size:]
            self.answers += 1
            self.transport.write(REQUEST)


def answer_size(buffer: bytes) -> int:
    """Bytes of the answer that `buffer` begins with; 0 until its head is there. AssertionError if it is not a 200."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return 0
    head = buffer[:end].lower()
    assert head.startswith(b"http/1.1 200"), buffer[:300]
    return end + 4 + int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])


async def _measure(port: int, connections: int, seconds: float) -> float:
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(Connection, "127.0.0.1", port) for _ in range(connections)]
    protocols = [protocol for _, protocol in opened]
    await asyncio.sleep(seconds / 4)  # the first requests import and connect
    before, began = sum(one.answers for one in protocols), time.perf_counter()
    await asyncio.sleep(seconds)
    answers, took = sum(one.answers for one in protocols) - before, time.perf_counter() - began
    for transport, _ in opened:
        transport.abort()
    assert answers, "the server answered nothing"
    return answers / took


def requests_per_second(port: int, connections: int = 32, seconds: float = 2.0) -> float:
    """Answers a second that `connections` clients get at once from 127.0.0.1:`port`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(port, connections, seconds))
