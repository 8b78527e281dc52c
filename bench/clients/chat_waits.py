"""How long a message takes: to its acknowledgement, and to the last socket of its room."""

import asyncio
import json
import time
import uuid
from collections.abc import Callable

from bench.clients.sockets import Member, gather, paced, until

SETTLE_SECONDS = 10.0  # for the last answers


class Sender(Member):
    """Knows when each of its messages was sent, and how long its acknowledgement took."""

    def __init__(self, job: dict) -> None:
        super().__init__(job)
        self.name = uuid.uuid4().hex
        self.sent: dict[str, float] = {}
        self.waits: list[tuple[float, float]] = []  # (when it was sent, seconds until it was acknowledged)
        self.repeats = False

    def say(self) -> None:
        message = f"{self.name}-{len(self.sent) + len(self.waits) + self.errors}"
        self.sent[message] = time.monotonic()
        self.send(self.frame.replace("{id}", message))

    def answered(self, payload: bytes) -> None:
        super().answered(payload)
        if payload.startswith(b'{"type":"message.ack"'):
            sent = self.sent.pop(json.loads(payload)["id"])
            self.waits.append((sent, time.monotonic() - sent))
            if self.repeats:
                self.say()


async def commits(job: dict, go: Callable[[], None]) -> dict:
    """Every socket of a room sends, and sends again for each acknowledgement.

    job: {"sockets", "window": messages on their way for each, "seconds"}. Result: {"messages": acknowledged a second,
    "waits": [seconds ..], "errors"}.
    """
    crowd = await gather(job, Sender, range(job["sockets"]))
    go()
    for sender in crowd:
        sender.repeats = True
        for _ in range(job["window"]):
            sender.say()
    await asyncio.sleep(job["seconds"] / 4)
    began = time.monotonic()
    await asyncio.sleep(job["seconds"])
    ended = time.monotonic()
    for sender in crowd:
        sender.leave()
    waits = [wait for sender in crowd for sent, wait in sender.waits if began <= sent + wait < ended]
    return {"messages": len(waits) / (ended - began), "waits": waits, "errors": sum(one.errors for one in crowd)}


class Listener(Member):
    """Notes when the room's messages come; those of one sender come in their order."""

    def __init__(self, job: dict, room: "Arrivals") -> None:
        super().__init__(job)
        self.room = room

    def delivered(self, payload: bytes) -> None:
        self.room.came(self.deliveries)


class Arrivals:
    """When each message of a room reached the last of its sockets so far, and how many it reached."""

    def __init__(self, count: int) -> None:
        self.at, self.reached = [0.0] * (count + 1), [0] * (count + 1)

    def came(self, message: int) -> None:
        self.at[message] = time.monotonic()
        self.reached[message] += 1


async def last(job: dict, go: Callable[[], None]) -> dict:
    """One socket sends at a pace. job: {"sockets", "count", "every": seconds}.

    Result: {"waits": seconds from the send of each message to the last socket's delivery}. RuntimeError if one is
    missing.
    """
    count, sent = job["count"], []
    room = Arrivals(count)
    crowd = await gather(job, lambda job: Listener(job, room), range(job["sockets"]))
    await asyncio.sleep(0.5)
    go()

    def say(number: int) -> None:
        sent.append(time.monotonic())
        crowd[0].send(crowd[0].frame.replace("{id}", uuid.uuid4().hex))

    await paced(count, job["every"], say)
    if not await until(lambda: room.reached[1:] == [len(crowd)] * count, SETTLE_SECONDS):
        raise RuntimeError(f"of {count * len(crowd)} deliveries came {sum(room.reached)}")
    for member in crowd:
        member.leave()
    return {"waits": [at - when for at, when in zip(room.at[1:], sent, strict=True)]}


async def steady(job: dict, go: Callable[[], None]) -> dict:
    """One socket sends at a pace. job: {"person", "count", "every": seconds}.

    Result: {"waits": [[when, by the machine's monotonic clock, seconds] ..], "errors"}.
    """
    sender = (await gather(job, Sender, [job["person"]]))[0]
    go()
    await paced(job["count"], job["every"], lambda number: sender.say())
    await until(lambda: not sender.sent, SETTLE_SECONDS)
    unanswered = len(sender.sent)
    sender.leave()
    return {"waits": sender.waits, "errors": sender.errors + unanswered}
