"""A crowd in one room: opens sockets, keeps a window of messages on their way, counts what arrives everywhere.

Runs in the bench's own virtual environment, because its WebSocket client (picows) is faster than any server here and
so is not what is measured. Reads a JSON job from standard input, writes a JSON result.

job: {"url", "origin", "cookies": [..], "sockets", "window", "seconds", "frame": "…{id}…", "marker": "…"}
"""

import asyncio
import json
import sys
import time
import uuid

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

SILENCE = 0.5  # seconds without an own delivery after which a window is sent again: a peer may drop messages


class Member(WSListener):
    """One socket. `talker` ones answer each delivery with the next message, so the window stays on its way."""

    def __init__(self, job: dict, talker: bool) -> None:
        self.marker = job["marker"].encode()
        self.frame = job["frame"]
        self.talker = talker
        self.deliveries = 0
        self.bytes = 0
        self.heard = 0.0

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        payload = frame.get_payload_as_bytes()
        if self.marker in payload[:40]:
            self.deliveries += 1
            self.bytes += len(payload)
            if self.talker:
                self.heard = time.perf_counter()
                self.say()

    def say(self) -> None:
        text = self.frame.replace("{id}", uuid.uuid4().hex)
        self.transport.send(WSMsgType.TEXT, text.encode())


async def connect(job: dict, number: int, talker: bool) -> Member:
    headers = [("Origin", job["origin"])]
    if job["cookies"]:
        headers.append(("Cookie", job["cookies"][number % len(job["cookies"])]))
    _, member = await ws_connect(lambda: Member(job, talker), job["url"], extra_headers=headers)
    return member


async def crowd(job: dict) -> dict:
    members = []
    for number in range(job["sockets"]):
        members.append(await connect(job, number, talker=number == 0))
    talker = members[0]
    await asyncio.sleep(1)  # each has said hello
    for _ in range(job["window"]):
        talker.say()
    await keep_going(talker, job, job["seconds"] / 4)
    before, began = sum(member.deliveries for member in members), time.perf_counter()
    said = talker.deliveries
    await keep_going(talker, job, job["seconds"])
    took = time.perf_counter() - began
    deliveries = sum(member.deliveries for member in members) - before
    messages = talker.deliveries - said
    return {
        "deliveries": deliveries / took,
        "messages": messages / took,
        "bytes": talker.bytes / max(1, talker.deliveries),
    }


async def keep_going(talker: Member, job: dict, seconds: float) -> None:
    end = time.perf_counter() + seconds
    while (now := time.perf_counter()) < end:
        await asyncio.sleep(min(0.1, end - now))
        if time.perf_counter() - talker.heard > SILENCE:
            for _ in range(job["window"]):
                talker.say()
            talker.heard = time.perf_counter()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(crowd(json.load(sys.stdin)))))
