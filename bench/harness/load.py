"""An HTTP client that costs little: keep-alive connections that each send the next request when answered."""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import uvloop

Clock = Callable[[], float]

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n"


class Connection(asyncio.Protocol):
    """Counts whole answers; needs that status and Content-Length in each."""

    def __init__(self, status: int) -> None:
        self.status = b"http/1.1 %d" % status
        self.buffer = b""
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        size = answer_size(self.buffer, self.status)
        if size and len(self.buffer) >= size:
            self.buffer = self.buffer[size:]
            self.answers += 1
            self.transport.write(REQUEST)


def answer_size(buffer: bytes, status: bytes) -> int:
    """Bytes of the answer that `buffer` begins with; 0 until its head is there. AssertionError for another status."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return 0
    head = buffer[:end].lower()
    assert head.startswith(status), buffer[:300]
    return end + 4 + int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])


async def _measure(
    port: int, connections: int, seconds: float, clocks: Sequence[Clock], status: int
) -> tuple[float, ...]:
    loop = asyncio.get_running_loop()
    made = partial(Connection, status)
    opened = [await loop.create_connection(made, "127.0.0.1", port) for _ in range(connections)]
    protocols = [protocol for _, protocol in opened]
    await asyncio.sleep(seconds / 4)  # the first requests import and connect
    before, began = sum(one.answers for one in protocols), [clock() for clock in clocks]
    await asyncio.sleep(seconds)
    answers = sum(one.answers for one in protocols) - before
    took = [clock() - then for clock, then in zip(clocks, began, strict=True)]
    for transport, _ in opened:
        transport.abort()
    assert answers, "the server answered nothing"
    return tuple(answers / one for one in took)


def rates(
    port: int,
    connections: int = 32,
    seconds: float = 2.0,
    clocks: Sequence[Clock] = (time.perf_counter,),
    status: int = 200,
) -> tuple[float, ...]:
    """Answers a second of each clock, given by 127.0.0.1:`port` to `connections` clients at once.

    Beside the wall's clock a clock of the server's processor time is of use: other programs don't move it.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(port, connections, seconds, clocks, status))
