"""Huey: threads, a list, results in a hash."""

from huey import RedisHuey

from bench.queues import producer, work

queue = RedisHuey("bench", url=producer.URL, results=producer.KEPT)


@queue.task()
def job(number: int, seconds: float) -> int:
    return work.work(number, seconds)


class Queue(producer.Producer):
    async def enqueue(self, number: int, seconds: float = 0.0) -> None:
        job(number, seconds)

    async def results(self) -> int:
        return queue.result_count()
