"""taskiq with taskiq-redis: asyncio, its stream broker."""

from redis.asyncio import Redis
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from bench.queues import producer, work

broker = RedisStreamBroker(producer.URL)
if producer.KEPT:
    broker = broker.with_result_backend(RedisAsyncResultBackend(producer.URL))


@broker.task
async def job(number: int, seconds: float) -> int:
    return await work.awork(number, seconds)


class Queue(producer.Producer):
    async def open(self) -> None:
        await broker.startup()
        self.redis = Redis.from_url(producer.URL)

    async def enqueue(self, number: int, seconds: float = 0.0) -> None:
        await job.kiq(number, seconds)

    async def results(self) -> int:
        return await self.redis.dbsize() - await self.redis.exists("taskiq", "autoclaim:taskiq:taskiq")
