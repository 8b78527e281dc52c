"""IntelliColab's own backend of Django Tasks; `manage.py worker` runs its jobs."""

import asyncio

import django

from bench.queues import producer

BULK = 1000


class Queue(producer.Producer):
    bulk = True

    async def open(self) -> None:
        await asyncio.to_thread(django.setup)

    async def enqueue(self, number: int, seconds: float = 0.0) -> None:
        from bench.queues.our_jobs import job

        await job.aenqueue(number, seconds)

    async def enqueue_many(self, numbers: range) -> None:
        from bench.queues.our_jobs import job
        from intellicolab.jobs.backend import Call

        for start in range(0, len(numbers), BULK):
            await job.get_backend().aenqueue_many([Call(job, (n, 0.0)) for n in numbers[start : start + BULK]])

    async def results(self) -> int:
        from intellicolab.redis.client import Role, async_client

        return sum([1 async for _ in async_client(Role.STATE).scan_iter("ic:{jobs:default}:job:*", count=1000)])
