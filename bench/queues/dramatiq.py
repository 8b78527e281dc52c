"""Dramatiq: threads, lists and hashes through Lua. Its prefetch is the environment's (dramatiq_queue_prefetch)."""

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from redis import Redis

from bench.queues import producer, work

broker = RedisBroker(url=producer.URL)
if producer.KEPT:
    broker.add_middleware(Results(backend=RedisBackend(url=producer.URL)))
dramatiq.set_broker(broker)
stored = {"store_results": True} if producer.KEPT else {}


@dramatiq.actor(**stored)
def job(number: int, seconds: float) -> int | None:
    result = work.work(number, seconds)
    return result if producer.KEPT else None  # it warns of a result that nobody keeps


class Queue(producer.Producer):
    async def open(self) -> None:
        self.redis = Redis.from_url(producer.URL)

    async def enqueue(self, number: int, seconds: float = 0.0) -> None:
        job.send(number, seconds)

    async def results(self) -> int:
        return self.redis.dbsize() - sum(1 for _ in self.redis.scan_iter("dramatiq:*", 1000))
