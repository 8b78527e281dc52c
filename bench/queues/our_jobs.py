"""Our job, with its result kept for ten minutes or not at all."""

from django_tasks import task

from bench.queues import producer
from bench.queues.work import awork


@task(keep=600 if producer.KEPT else 0)
async def job(number: int, seconds: float) -> int:
    return await awork(number, seconds)
