"""As many deliveries as a server can make: a window of messages is on its way to one room at any moment.

job: {"sockets", "window", "seconds"}, and for messages that come from the channel layer and not from a socket {"batch",
"room"}. Result: {"deliveries", "messages": a second; "bytes": a delivery; "lost": sockets that the server closed}.
"""

import asyncio
import time
import uuid
from collections.abc import Callable

from bench.clients.sockets import Member, gather

SILENCE = 2.0  # seconds without an own delivery after which a window is sent again: a peer may drop messages


class Talker(Member):
    """Answers each delivery with the next message, so the window stays on its way."""

    def __init__(self, job: dict) -> None:
        super().__init__(job)
        self.window: int = job["window"]
        self.heard = 0.0
        self.bytes = 0

    def begin(self) -> None:
        self.heard = time.perf_counter()
        for _ in range(self.window):
            self.say()

    def delivered(self, payload: bytes) -> None:
        self.heard = time.perf_counter()
        self.bytes += len(payload)
        self.say()

    def say(self) -> None:
        self.send(self.frame.replace("{id}", uuid.uuid4().hex))


async def deliveries(job: dict, go: Callable[[], None]) -> dict:
    talker = (await gather(job, talker_of(job), [0]))[0]
    crowd = [talker, *await gather(job, Member, range(1, job["sockets"]))]
    await asyncio.sleep(0.5)  # who came last is served by now as those who came first
    go()
    talker.begin()
    await keep_going(talker, job["seconds"] / 4)
    before, said, began = heard_by(crowd), talker.deliveries, time.perf_counter()
    await keep_going(talker, job["seconds"])
    took = time.perf_counter() - began
    result = {
        "deliveries": (heard_by(crowd) - before) / took,
        "messages": (talker.deliveries - said) / took,
        "bytes": talker.bytes / max(1, talker.deliveries),
        "lost": sum(member.lost for member in crowd),
    }
    for member in crowd:
        member.leave()
    return result


def talker_of(job: dict) -> Callable[[dict], Talker]:
    if "batch" not in job:
        return Talker
    from bench.clients.chat_publisher import PublishingTalker  # needs the settings of the installation it talks to

    return PublishingTalker


def heard_by(crowd: list[Member]) -> int:
    return sum(member.deliveries for member in crowd)


async def keep_going(talker: Talker, seconds: float) -> None:
    end = time.perf_counter() + seconds
    while (now := time.perf_counter()) < end:
        await asyncio.sleep(min(0.1, end - now))
        if time.perf_counter() - talker.heard > SILENCE:
            talker.begin()
