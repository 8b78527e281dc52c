"""Celery: forked processes or threads, lists."""

from celery import Celery
from redis import Redis

from bench.queues import producer, work

path = producer.URL.removeprefix("unix://").partition("?")[0]
address = f"redis+socket://{path}"
app = Celery("bench", broker=address, backend=address if producer.KEPT else None)
app.conf.task_ignore_result = not producer.KEPT


@app.task
def job(number: int, seconds: float) -> int:
    return work.work(number, seconds)


class Queue(producer.Producer):
    async def open(self) -> None:
        self.redis = Redis.from_url(producer.URL)

    async def enqueue(self, number: int, seconds: float = 0.0) -> None:
        job.delay(number, seconds)

    async def results(self) -> int:
        return sum(1 for _ in self.redis.scan_iter("celery-task-meta-*", 1000))
