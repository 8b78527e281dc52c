"""Workers in the test's own process, for jobs."""

import pytest
from django_tasks import default_task_backend

from intellicolab.events.signals import Listener
from intellicolab.jobs.worker import JobWorker, queues
from intellicolab.redis import keys
from intellicolab.redis.client import Role, client

from .test_events import wait_until


@pytest.fixture
def worker():
    """One at all queues."""
    running = JobWorker(concurrency=4)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def listener():
    """Has this process hear signals."""
    made = Listener()
    made.start()
    assert made.listens.wait(5)
    yield made
    made.stop()


def run_jobs(*names, concurrency=4):
    """Run all that waits in these queues, or in all; it has ended then."""
    running = JobWorker(queues(names), concurrency)
    running.start()
    try:
        wait_until(lambda: not waiting(*names))
    finally:
        running.stop()


def waiting(*names):
    """How many jobs wait or run now."""
    found = client(Role.STATE)
    return sum(
        found.xlen(keys.job_stream("default", queue.name, int(level)))
        for queue in queues(names)
        for level in found.smembers(keys.jobs_of("default", queue.name, "levels"))
    )


def finished(result):
    """Wait until it is, and refresh it."""

    def is_finished():
        result.refresh()
        return result.is_finished

    wait_until(is_finished)


def state_of(result):
    return default_task_backend.store.record(result.id)[1].get(b"s", b"").decode()
