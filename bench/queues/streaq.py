"""streaq: asyncio, streams through a library of Lua functions."""

from itertools import islice

from streaq import Worker

from bench.queues import producer, work

BULK = 1000
worker: Worker = Worker(redis_url=producer.URL, concurrency=producer.CONCURRENCY)
how_long: dict[str, int] = {} if producer.KEPT else {"ttl": 0}


@worker.task(silent=True, **how_long)  # no log line a job, as with the others
async def job(number: int, seconds: float) -> int:
    return await work.awork(number, seconds)


class Queue(producer.Producer):
    bulk = True

    async def open(self) -> None:
        self.opened = worker.__asynccontextmanager__()
        await self.opened.__aenter__()

    async def enqueue(self, number: int, seconds: float = 0.0) -> None:
        await job.enqueue(number, seconds)

    async def enqueue_many(self, numbers: range) -> None:
        left = iter(numbers)
        while batch := [job.enqueue(number, 0.0) for number in islice(left, BULK)]:
            await worker.enqueue_many(batch)

    async def results(self) -> int:
        return await worker.redis.zcard(worker._results_set)
