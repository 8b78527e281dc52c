"""What administrators see of jobs, and do to them."""

import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django_tasks import TaskResultStatus
from django_tasks.exceptions import InvalidTaskError

from intellicolab.events.models import OutboxRow
from intellicolab.events.relay import Relay
from intellicolab.jobs import figures, operations, slots
from intellicolab.jobs.backend import Call
from intellicolab.jobs.batches import Batch
from intellicolab.jobs.details import details
from intellicolab.jobs.worker import JobWorker, queues
from intellicolab.redis import keys
from intellicolab.redis.client import Role, client

from . import job_tasks as tasks
from .job_workers import finished, listener, run_jobs, waiting, worker  # noqa: F401  fixtures
from .test_events import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.topology]


def in_an_hour(task, **changes):
    return task.using(run_after=timezone.now() + timedelta(hours=1), **changes)


def default():
    return next(queue for queue in queues() if queue.name == "default")


def died(task, *args):
    result = task.enqueue(*args)
    run_jobs()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    return result


# --- Operations ----------------------------------------------------------------------------------------------------


def test_a_dead_job_begins_anew_with_all_its_tries():
    result = tasks.fail_thrice.enqueue("x")
    started = JobWorker(concurrency=1)
    started.start()
    try:
        finished(result)
        assert operations.retry("default", result.id)
        assert figures.dead_count("default") == 0
        wait_until(lambda: len(tasks.notes()) == 6)
        finished(result)
    finally:
        started.stop()
    assert (result.attempts, len(result.errors)) == (3, 3)
    assert figures.dead_count("default") == 1


def test_a_dead_job_is_discarded_with_all_that_was_kept():
    result = died(tasks.fail)
    assert operations.discard("default", result.id)
    assert not client(Role.STATE).exists(keys.job("default", result.id))
    assert not operations.discard("default", result.id)
    assert not operations.retry("default", result.id)


def test_a_unique_job_is_not_revived_beside_another_one():
    result = died(tasks.fail_once_each, "a")
    other = tasks.fail_once_each.enqueue("a")
    assert not operations.retry("default", result.id)
    assert other.cancel()
    run_jobs()
    assert operations.retry("default", result.id)


def test_a_job_that_has_not_died_is_neither_retried_nor_discarded():
    result = tasks.say.enqueue("x")
    assert not operations.retry("default", result.id)
    assert not operations.discard("default", result.id)
    run_jobs()
    assert tasks.notes() == ["x"]


def test_a_scheduled_job_runs_now_if_one_wants(worker):  # noqa: F811
    result = in_an_hour(tasks.say, priority=3).enqueue("x")
    assert operations.run_now("default", result.id)
    finished(result)
    assert tasks.notes() == ["x"]
    assert not operations.run_now("default", result.id)
    assert not operations.run_now("default", "0" * 32)


def test_no_job_of_a_paused_queue_begins(worker):  # noqa: F811
    finished(tasks.noop.enqueue())
    assert operations.pause("default", "default")
    held, other = tasks.noop.enqueue(), tasks.noop.using(queue_name="bulk").enqueue()
    finished(other)
    held.refresh()
    assert held.status == TaskResultStatus.READY
    assert figures.queue_figures(default()).paused
    assert operations.resume("default", "default")
    finished(held)


def test_a_queue_stays_paused_when_redis_loses_its_data(worker):  # noqa: F811
    assert operations.pause("default", "default")
    client(Role.STATE).flushall()
    held, other = tasks.noop.enqueue(), tasks.noop.using(queue_name="bulk").enqueue()
    finished(other)
    wait_until(lambda: figures.queue_figures(default()).paused)
    time.sleep(0.2)
    held.refresh()
    assert held.status == TaskResultStatus.READY
    assert operations.resume("default", "default")
    finished(held)


def test_pausing_and_resuming_are_news_also_where_redis_knew_before_or_forgot():
    """A worker that joins at that moment may have told it, or a failover lost it."""
    client(Role.STATE).sadd(keys.jobs("default", "paused"), "default")
    assert operations.pause("default", "default")
    assert not operations.pause("default", "default")
    client(Role.STATE).flushall()
    assert operations.resume("default", "default")
    assert not operations.resume("default", "default")


def test_who_tells_redis_of_a_pause_does_not_bring_it_back_when_it_is_just_ended():
    """Who ends it comes between the look at the row and the word to Redis."""
    operations.pause("default", "default")
    others = iter([operations.resume])

    def come_between(execute, sql, params, many, context):
        found = execute(sql, params, many, context)
        if other := next(others, None):
            other("default", "default")
        return found

    with connection.execute_wrapper(come_between):
        operations.keep_pause("default", "default")
    assert not figures.queue_figures(default()).paused


# --- Figures -------------------------------------------------------------------------------------------------------


def test_the_figures_of_an_unused_queue_are_zero():
    found = figures.queue_figures(default())
    assert (found.waiting, found.running, found.scheduled, found.retrying, found.workers) == (0, 0, 0, 0, 0)
    assert (found.oldest, found.paused) == (None, False)
    assert figures.running(default()) == figures.waiting(default()) == figures.dead("default") == []


def test_jobs_are_listed_where_they_are(worker, listener, monkeypatch):  # noqa: F811
    monkeypatch.setattr(slots, "QUICK", 0.0)  # no worker has jobs in hand that it does not run
    held = [tasks.hold.using(priority=level).enqueue() for level in (0, 5, 0, 9)]
    wait_until(lambda: tasks.notes() == ["begun"] * 4)  # as many as the worker runs
    later = in_an_hour(tasks.say).enqueue(
        "x",
    )
    tried_again = tasks.fail_slowly.enqueue()
    assert held[0].cancel()
    wait_until(lambda: figures.retrying(default()))
    upper = tasks.hold.using(priority=7).enqueue()
    wait_until(lambda: len(tasks.notes()) == 5)
    rest = [tasks.add.using(priority=level).enqueue(1, 2) for level in (-1, 1)]
    found = figures.queue_figures(default())
    assert (found.running, found.scheduled, found.retrying, found.workers) == (4, 1, 1, 1)
    assert found.waiting == 2
    assert 0 <= found.oldest < 30
    assert {row.id for row in figures.running(default())} == {each.id for each in [*held[1:], upper]}
    assert [row.id for row in figures.waiting(default())] == [rest[1].id, rest[0].id]
    (scheduled,) = figures.scheduled(default())
    assert (scheduled.id, scheduled.arguments, scheduled.state) == (later.id, '"x"', "ready")
    assert abs(scheduled.at - later.task.run_after) < timedelta(milliseconds=2)
    (again,) = figures.retrying(default())
    assert (again.id, again.tries, again.error) == (tried_again.id, 1, "ValueError: slowly")
    for each in [*held, upper]:
        each.cancel()


def test_the_dead_are_listed_newest_first_with_their_errors():
    first, second = died(tasks.fail, "one"), died(tasks.fail, "two")
    rows = figures.dead("default")
    assert [row.id for row in rows] == [second.id, first.id]
    assert rows[0].error == "ValueError: two"
    assert "Traceback" in details("default", second.id).errors[0].traceback
    assert [row.id for row in figures.dead("default", after="1")] == [first.id]
    assert details("default", first.id).task == "tests.job_tasks.fail"
    assert details("default", "unknown") is None


def test_long_arguments_are_cut():
    tasks.noop.enqueue("x" * 500, key="y")
    shown = figures.waiting(default())[0].arguments
    assert len(shown) < 100
    assert shown.endswith('…, key="y"')


# --- Batches -------------------------------------------------------------------------------------------------------


@pytest.fixture
def carry():
    def once():
        relay = Relay()
        relay.start()
        relay.stop()

    return once


def test_the_last_job_of_a_batch_waits_for_all_others_and_counts_them(carry):
    with Batch(then=Call(tasks.sum_up)) as batch:
        for number in range(20):
            batch.add(tasks.say, str(number))
        batch.add(tasks.fail)
        batch.add(tasks.say, "cancelled")
    carry()
    batch.last.refresh()
    assert (batch.last.status, batch.last.batch) == (TaskResultStatus.READY, (22, 22, 0))
    assert batch.results[-1].cancel()
    run_jobs(concurrency=3)
    wait_until(lambda: waiting() == 0)
    finished_notes = tasks.notes()
    assert finished_notes[-1] == "batch 22 0 2"
    assert sorted(map(int, finished_notes[:-1])) == list(range(20))


@pytest.fixture
def dead_child(carry):
    """A batch of a child that has died and one that waits, on a queue that no worker looks at."""
    with Batch(then=Call(tasks.sum_up)) as batch:
        batch.add(tasks.fail_until_told)
        batch.add(tasks.say.using(queue_name="bulk"), "other")
    carry()
    run_jobs("default")
    batch.last.refresh()
    assert batch.last.batch == (2, 1, 1)
    assert operations.retry("default", batch.results[0].id)
    batch.last.refresh()
    assert batch.last.batch == (2, 2, 0)
    return batch


def test_a_dead_child_of_a_batch_that_succeeds_when_it_is_retried_counts_once(dead_child):
    tasks.note("go")
    run_jobs("default")
    dead_child.last.refresh()
    assert (dead_child.last.status, dead_child.last.batch) == (TaskResultStatus.READY, (2, 1, 0))
    run_jobs()
    assert tasks.notes() == ["go", "other", "batch 2 0 0"]


def test_a_dead_child_of_a_batch_that_dies_again_counts_once(dead_child):
    run_jobs("default")
    dead_child.last.refresh()
    assert (dead_child.last.status, dead_child.last.batch) == (TaskResultStatus.READY, (2, 1, 1))
    run_jobs()
    assert tasks.notes() == ["other", "batch 2 0 1"]


def test_a_dead_child_of_a_batch_that_is_retried_and_cancelled_counts_once(dead_child):
    assert dead_child.results[0].cancel()
    assert dead_child.results[0].cancel()
    run_jobs("default")
    assert not operations.retry("default", dead_child.results[0].id)
    dead_child.last.refresh()
    assert (dead_child.last.status, dead_child.last.batch) == (TaskResultStatus.READY, (2, 1, 1))
    run_jobs()
    assert tasks.notes() == ["other", "batch 2 0 1"]


def test_a_dead_child_that_is_retried_after_the_last_job_of_its_batch_changes_no_count(carry):
    with Batch(then=Call(tasks.sum_up)) as batch:
        batch.add(tasks.fail_until_told)
    carry()
    run_jobs()
    tasks.note("go")
    assert operations.retry("default", batch.results[0].id)
    run_jobs()
    batch.last.refresh()
    assert (tasks.notes(), batch.last.batch) == (["batch 1 0 1", "go"], (1, 0, 1))


def test_a_batch_whose_block_raises_stores_nothing():
    with pytest.raises(ZeroDivisionError), Batch() as batch:
        batch.add(tasks.say, str(1 / 0))
    assert not hasattr(batch, "last")


def test_an_empty_batch_runs_its_last_job(carry):
    with Batch(then=Call(tasks.say, ["last"])):
        pass
    carry()
    run_jobs()
    assert tasks.notes() == ["last"]


def test_a_unique_job_is_no_part_of_a_batch():
    with pytest.raises(InvalidTaskError, match="can't be part"), Batch() as batch:
        batch.add(tasks.say_once, "x")


def test_a_last_job_with_a_time_of_its_own_is_refused():
    """It would begin when the others have ended, whatever its time says."""
    with pytest.raises(InvalidTaskError, match="can't have a time"), Batch(then=Call(in_an_hour(tasks.say))) as batch:
        batch.add(tasks.say, "x")
    assert not OutboxRow.objects.exists()


def test_a_last_job_that_is_cancelled_does_not_run(carry):
    with Batch(then=Call(tasks.sum_up)) as batch:
        batch.add(tasks.say, "one")
    carry()
    assert batch.last.cancel()
    run_jobs()
    assert tasks.notes() == ["one"]
    batch.last.refresh()
    assert batch.last.status == TaskResultStatus.FAILED
