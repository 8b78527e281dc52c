"""The job of the django-tasks backends; its settings are bench/queues/django_settings.py."""

from django_tasks import task

from bench.queues import work


@task()
def job(number: int, seconds: float) -> int:
    return work.work(number, seconds)
