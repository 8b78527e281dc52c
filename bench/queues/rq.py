"""RQ: one job at a time, in a process forked for it or in the worker itself."""

from itertools import islice

from redis import Redis
from rq import Queue as RqQueue
from rq.registry import FinishedJobRegistry

from bench.queues import producer, work

BULK = 1000
how_long = None if producer.KEPT else 0


class Queue(producer.Producer):
    bulk = True

    async def open(self) -> None:
        self.queue = RqQueue(connection=Redis.from_url(producer.URL))

    async def enqueue(self, number: int, seconds: float = 0.0) -> None:
        self.queue.enqueue(work.work, number, seconds, result_ttl=how_long)

    async def enqueue_many(self, numbers: range) -> None:
        left = iter(numbers)
        while batch := [self.prepared(number) for number in islice(left, BULK)]:
            self.queue.enqueue_many(batch)

    def prepared(self, number: int):
        return RqQueue.prepare_data(work.work, (number, 0.0), result_ttl=how_long)

    async def results(self) -> int:
        return FinishedJobRegistry(queue=self.queue).get_job_count(cleanup=False)
