"""django-tasks with the backend that JOBS_BACKEND names: RQ, or the database (SQLite)."""

import asyncio
import os

import django
from django.core.management import call_command

from bench.queues import producer

DATABASE = "db" in os.environ["JOBS_BACKEND"]


class Queue(producer.Producer):
    async def open(self) -> None:
        await asyncio.to_thread(self.set_up)
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # nothing else runs in this loop

    def set_up(self) -> None:
        django.setup()
        if DATABASE:
            call_command("migrate", verbosity=0)

    async def enqueue(self, number: int, seconds: float = 0.0) -> None:
        from bench.queues.django_jobs import job

        job.enqueue(number, seconds)

    async def results(self) -> int:
        if DATABASE:
            from django_tasks_db.models import DBTaskResult

            return DBTaskResult.objects.filter(status="SUCCESSFUL").count()
        import django_rq
        from rq.registry import FinishedJobRegistry

        return FinishedJobRegistry(queue=django_rq.get_queue()).get_job_count(cleanup=False)
