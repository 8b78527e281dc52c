"""Fan-out alone: messages that nobody stored, put on the channel layer as the server's publisher does after a commit.

The hub takes their versions for the room's next ones; it heals from the database only upwards.
"""

import json
import time

import django

from bench.clients.chat_load import Talker

django.setup()

from realtime import frames  # noqa: E402  needs the settings
from realtime.publisher import Batch, publisher, room_topic  # noqa: E402

PATIENCE = 60.0  # seconds beyond the publisher's deadline: a batch that it drops leaves a gap that nothing heals


class PublishingTalker(Talker):
    """Publishes the next batch for each that has come, so the window stays on its way."""

    def __init__(self, job: dict) -> None:
        super().__init__(job)
        self.room, self.batch = job["room"], job["batch"]
        self.version = 0

    def begin(self) -> None:
        if self.version:  # again: what is on its way is late; nothing drops it
            return
        self.version = json.loads(self.joined.result())["rooms"][str(self.room)]
        self.heard = time.perf_counter()
        for _ in range(self.window // self.batch):
            self.publish()

    def delivered(self, payload: bytes) -> None:
        self.heard = time.perf_counter()
        self.bytes += len(payload)
        if self.deliveries % self.batch == 0:
            self.publish()

    def publish(self) -> None:
        first, last = self.version + 1, self.version + self.batch
        ready = [self.frame_of(version) for version in range(first, last + 1)]
        self.version = last
        publisher.publish(Batch(room_topic(self.room), ready, first, last, made=time.monotonic() + PATIENCE))

    def frame_of(self, version: int) -> str:
        text = json.loads(self.frame)["text"]
        author = {"id": 1, "name": "Alice", "initials": "A", "tint": 3, "avatar": ""}
        told = {"room": self.room, "number": version, "version": version, "id": f"{version:032}", "author": author}
        return frames.encode(
            frames.said({**told, "kind": "text", "html": f"<p>{text}</p>", "time": "2026-11-23T09:30:00.000Z"})
        )
