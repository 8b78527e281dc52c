"""saq: asyncio, lists; the job's key holds its result."""

from typing import Any

from redis.asyncio import Redis
from saq.queue.redis import RedisQueue

from bench.queues import producer, work

# Its worker waits for a job without end, which redis-py 8 would cut off after 5 s.
queue = RedisQueue(Redis.from_url(producer.URL, socket_timeout=None))
how_long = {} if producer.KEPT else {"ttl": -1}


async def job(context: dict[str, Any], *, number: int, seconds: float) -> int:
    return await work.awork(number, seconds)


settings = {"queue": queue, "functions": [job], "concurrency": producer.CONCURRENCY}


class Queue(producer.Producer):
    async def open(self) -> None:
        await queue.connect()

    async def enqueue(self, number: int, seconds: float = 0.0) -> None:
        await queue.enqueue("job", number=number, seconds=seconds, **how_long)

    async def results(self) -> int:
        jobs = sum([1 async for _ in queue.redis.scan_iter("saq:job:*", 1000)])
        return jobs - await queue.count("incomplete")
