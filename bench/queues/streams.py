"""The least that a queue on Redis Streams can be: read a hundred entries, run them, acknowledge them in one pipeline.

No retries, no claims of what a dead worker held, no schedules: a yardstick, not a queue.
"""

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import Any

import redis.asyncio as redis
import uvloop
from redis.exceptions import ResponseError

from bench.queues import producer
from bench.queues.work import awork

STREAM, GROUP, RESULT = "jobs", "workers", "result:"
COUNT, BULK = 100, 1000
RESULT_SECONDS = 600

Entry = tuple[bytes, dict[bytes, bytes]]


def client() -> redis.Redis:
    return redis.Redis.from_url(producer.URL, socket_timeout=None)


def encoded(number: int, seconds: float = 0.0) -> dict[Any, Any]:
    return {"job": json.dumps(["work", number, seconds])}


class Queue(producer.Producer):
    bulk = True

    async def open(self) -> None:
        self.redis = client()

    async def enqueue(self, number: int, seconds: float = 0.0) -> None:
        await self.redis.xadd(STREAM, encoded(number, seconds))

    async def enqueue_many(self, numbers: range) -> None:
        left = iter(numbers)
        while batch := list(islice(left, BULK)):
            pipeline = self.redis.pipeline(transaction=False)
            for number in batch:
                pipeline.xadd(STREAM, encoded(number))
            await pipeline.execute()

    async def results(self) -> int:
        return await self.redis.dbsize() - 1  # without the stream


async def serve() -> None:
    async with client() as connection:
        with suppress(ResponseError):  # an earlier worker made it
            await connection.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        while True:
            answer: Any = await connection.xreadgroup(GROUP, "one", {STREAM: ">"}, COUNT, 1000)
            for _, entries in answer or ():
                await settle(connection, [(entry, await run(entry)) for entry in entries])


async def run(entry: Entry) -> bytes:
    _name, number, seconds = json.loads(entry[1][b"job"])
    return json.dumps(await awork(number, seconds)).encode()


async def settle(connection: redis.Redis, done: Iterable[tuple[Entry, bytes]]) -> None:
    """All of a batch in one round trip."""
    pipeline = connection.pipeline(transaction=False)
    ids = []
    for (entry_id, _), result in done:
        ids.append(entry_id)
        if producer.KEPT:
            pipeline.set(RESULT + entry_id.decode(), result, ex=RESULT_SECONDS)
    pipeline.xack(STREAM, GROUP, *ids)
    pipeline.xdel(STREAM, *ids)
    await pipeline.execute()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
