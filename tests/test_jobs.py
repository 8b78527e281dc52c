"""Jobs beyond Django's contract: tried again, unique, limited, cancelled, told of, and never lost."""

import asyncio
import threading
import time
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from django_tasks import TaskResultStatus, default_task_backend
from django_tasks.exceptions import InvalidTaskError, TaskResultDoesNotExist
from redis.exceptions import OutOfMemoryError

from intellicolab.events.models import DeadLetter, OutboxRow
from intellicolab.events.relay import Relay
from intellicolab.jobs import carrier, desk, details, payload, post, running, store
from intellicolab.jobs.backend import Call
from intellicolab.jobs.errors import JobCancelled, NonRetryable, QueueFull, TimeLimitExceeded, WorkerKilled
from intellicolab.jobs.events import JobDead
from intellicolab.jobs.payload import Payload
from intellicolab.jobs.results import Progress
from intellicolab.jobs.worker import JobWorker
from intellicolab.redis import keys
from intellicolab.redis.client import Role, client
from ratelimit.rules import Algorithm

from . import job_tasks as tasks
from .job_workers import finished, listener, run_jobs, state_of, waiting, worker  # noqa: F401  fixtures
from .test_events import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.topology]


def unique():
    return client(Role.STATE).hlen(keys.jobs("default", "unique"))


# --- Tries ---------------------------------------------------------------------------------------------------------


def test_a_job_is_tried_again_as_often_as_its_task_says_and_is_dead_then(worker):  # noqa: F811
    result = tasks.fail_thrice.enqueue("no")
    finished(result)
    assert tasks.notes() == ["no"] * 3
    assert (result.status, result.attempts, len(result.errors)) == (TaskResultStatus.FAILED, 3, 3)
    assert client(Role.STATE).zrange(keys.jobs("default", "dead"), 0, -1) == [result.id.encode()]


def test_a_job_that_succeeds_later_keeps_the_errors_of_its_earlier_tries(worker):  # noqa: F811
    result = tasks.succeed_at_third.enqueue()
    finished(result)
    assert (result.status, result.return_value, result.attempts) == (TaskResultStatus.SUCCESSFUL, 3, 3)
    assert [error.traceback.splitlines()[-1] for error in result.errors] == ["ValueError: try 1", "ValueError: try 2"]
    assert result.started_at < result.last_attempted_at


def test_pauses_between_tries_grow_and_are_no_longer_than_an_hour():
    task = tasks.ask_to_be_tried_soon
    assert 500 <= task.delay(1) <= 1000
    assert 1000 <= task.delay(2) <= 2000
    assert 1800 <= task.delay(5000) <= 3600


def test_a_task_may_say_when_it_is_to_be_tried_again(worker):  # noqa: F811
    result = tasks.ask_to_be_tried_soon.enqueue()
    finished(result)
    assert tasks.notes() == ["try", "try"]


def test_a_task_may_say_that_a_failure_is_final_and_why(worker):  # noqa: F811
    result = tasks.fail_for_good.enqueue("no such room")
    finished(result)
    assert tasks.notes() == ["no such room"]
    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 1)
    (error,) = result.errors
    assert error.exception_class is NonRetryable
    assert "no such room" in error.traceback
    assert "the cause" in error.traceback
    assert client(Role.STATE).zrange(keys.jobs("default", "dead"), 0, -1) == [result.id.encode()]


def test_errors_of_many_tries_are_counted_but_only_the_newest_are_kept_whole():
    from intellicolab.jobs.results import errors_in, with_error

    data = None
    for number in range(30):
        data = with_error(data, ValueError("x" * 50_000 + str(number)))
    errors = errors_in(data)
    assert len(errors) == 30
    assert [bool(error.traceback) for error in errors] == [False] * 20 + [True] * 10
    assert errors[-1].traceback.endswith("x29\n")
    assert len(data) < 110_000


def test_an_error_that_is_no_text_is_kept_and_told():
    """Not run by a worker: the log of it would be more than the runner of the tests can pass on."""
    from intellicolab.events.schema import encode
    from intellicolab.jobs import deaths
    from intellicolab.jobs.results import errors_in, with_error

    error = ValueError("half \ud800")
    (stored,) = errors_in(with_error(None, error))
    assert stored.traceback == "ValueError: half ?\n"
    fact = deaths._fact(desk.Ending(desk.Taken("a" * 32, 0, b"1-0", None), "dead", error=error))
    assert "half ?" in encode(fact)


def test_a_fault_of_the_worker_kills_the_job_and_neither_keeps_it_nor_ends_the_worker(monkeypatch, worker):  # noqa: F811
    from intellicolab.jobs.running import Run

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_kills", lambda run: 1 / 0)
        result = tasks.noop.enqueue()
        finished(result)
    assert result.errors[0].exception_class is ZeroDivisionError
    after = tasks.noop.enqueue()
    finished(after)
    assert after.status == TaskResultStatus.SUCCESSFUL


def test_a_dead_job_is_a_fact_with_the_same_id_however_often_it_is_told(worker):  # noqa: F811
    result = tasks.fail.enqueue("gone")
    finished(result)
    (row,) = OutboxRow.objects.filter(name=JobDead.name)
    assert result.id in row.data
    assert "ValueError: gone" in row.data


def test_while_the_database_is_away_a_dead_job_waits_and_others_go_on(worker, monkeypatch):  # noqa: F811
    from django.db import OperationalError

    from intellicolab.jobs import deaths

    away = True

    def emit_all(facts):
        if away:
            raise OperationalError("away")
        emitted.extend(facts)

    emitted = []
    monkeypatch.setattr(deaths, "emit_all", emit_all)
    dying, living = tasks.fail.enqueue(), tasks.add.enqueue(1, 2)
    finished(living)
    dying.refresh()
    assert dying.status == TaskResultStatus.RUNNING
    away = False
    finished(dying)
    assert [fact.job_id for fact in emitted] == [dying.id]


def test_a_dead_job_is_told_of_again_whatever_the_first_attempt_met(worker, monkeypatch):  # noqa: F811
    """A connection that is closed is an InterfaceError to Django, which is no DatabaseError."""
    from django.db import InterfaceError

    from intellicolab.jobs import deaths

    emitted, emit_all = [], deaths.emit_all

    def emit_later(facts):
        emitted.append(facts)
        if len(emitted) == 1:
            raise InterfaceError("connection already closed")
        emit_all(facts)

    monkeypatch.setattr(deaths, "emit_all", emit_later)
    result = tasks.fail.enqueue()
    finished(result)
    assert OutboxRow.objects.filter(name=JobDead.name).count() == 1


def test_a_task_that_no_worker_knows_is_tried_for_a_while_and_dies_then(monkeypatch):
    monkeypatch.setattr(running, "UNKNOWN_DELAY", 0.001)
    made = Payload("tests.job_tasks.of_a_newer_version", "default", 0, [], {}, 0)
    default_task_backend.store.add([store.NewJob("n" * 32, made)])
    started = JobWorker(concurrency=1)
    started.start()
    try:
        wait_until(lambda: client(Role.STATE).zcard(keys.jobs("default", "dead")) == 1)
    finally:
        started.stop()
    record = default_task_backend.store.record("n" * 32)[1]
    assert record[b"s"] == b"failed"
    assert b"of_a_newer_version" in record[b"e"]


def test_what_is_no_job_at_all_dies_and_harms_nobody(worker):  # noqa: F811
    good = tasks.add.enqueue(1, 2)
    finished(good)
    state = client(Role.STATE)
    state.hset(keys.job("default", "b" * 32), mapping={"d": "no json", "s": "ready"})
    state.xadd(keys.job_stream("default", "default", 0), {"j": "b" * 32})
    state.xadd(keys.job_stream("default", "default", 0), {"j": "c" * 32})  # its record was discarded
    wait_until(lambda: state.zcard(keys.jobs("default", "dead")) == 1)
    again = tasks.add.enqueue(1, 2)
    finished(again)
    wait_until(lambda: waiting() == 0)


# --- Time limits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", [tasks.spin, tasks.sleep_async], ids=["sync", "async"])
def test_a_try_that_takes_too_long_is_ended_even_if_it_catches_exceptions(slow, worker):  # noqa: F811
    result = slow.enqueue()
    finished(result)
    assert result.errors[0].exception_class is TimeLimitExceeded
    assert timedelta(seconds=0.2) <= result.finished_at - result.started_at < timedelta(seconds=2)
    after = tasks.add.enqueue(1, 1)  # the thread is as good as before
    finished(after)
    assert after.status == TaskResultStatus.SUCCESSFUL


# --- Unique jobs ---------------------------------------------------------------------------------------------------


def test_of_a_unique_job_one_waits_or_runs_and_who_comes_second_gets_its_result():
    first, other = tasks.say_once.enqueue("a"), tasks.say_once.enqueue("b")
    second = tasks.say_once.enqueue("a", aside=1)
    assert (second.id, second.id == other.id) == (first.id, False)
    run_jobs()
    assert sorted(tasks.notes()) == ["a", "b"]
    assert unique() == 0
    assert tasks.say_once.enqueue("a").id != first.id


def test_a_job_that_is_unique_until_it_starts_may_be_enqueued_while_it_runs(worker):  # noqa: F811
    first = tasks.say_once_more.enqueue("a")
    wait_until(lambda: tasks.notes() == ["a"])
    second = tasks.say_once_more.enqueue("a")
    assert second.id != first.id
    finished(second)
    assert tasks.notes() == ["a", "a"]


def test_a_unique_job_that_dies_or_is_cancelled_makes_room(worker):  # noqa: F811
    first = tasks.say_once.using(run_after=timezone.now() + timedelta(hours=1)).enqueue("a")
    assert first.cancel()
    wait_until(lambda: unique() == 0)
    assert tasks.say_once.enqueue("a").id != first.id


def test_one_that_was_cancelled_while_it_waits_makes_room_before_a_worker_has_seen_it():
    first = tasks.say_once.enqueue("a")
    assert first.cancel()
    second = tasks.say_once.enqueue("a")
    assert second.id != first.id
    run_jobs()
    second.refresh()
    assert (tasks.notes(), second.status, unique()) == (["a"], TaskResultStatus.SUCCESSFUL, 0)


def test_a_name_without_its_argument_is_refused():
    with pytest.raises(InvalidTaskError, match="names no argument"):
        tasks.badly_named.enqueue()
    with pytest.raises(InvalidTaskError, match="does not take these arguments"):
        tasks.say_once.enqueue()


# --- Results -------------------------------------------------------------------------------------------------------


def test_results_are_kept_for_as_long_as_the_task_says(worker):  # noqa: F811
    kept, dropped = tasks.add.enqueue(1, 2), tasks.forget.enqueue("x")
    finished(kept)
    wait_until(lambda: not state_of(dropped))
    assert 86_000 < client(Role.STATE).ttl(keys.job("default", kept.id)) <= 86_400
    assert tasks.notes() == ["x"]
    with pytest.raises(TaskResultDoesNotExist):
        dropped.refresh()


def test_nothing_is_left_in_redis_of_jobs_that_have_ended(worker):  # noqa: F811
    for number in range(50):
        tasks.forget.enqueue(str(number))
    wait_until(lambda: waiting() == 0 and len(tasks.notes()) == 50)
    left = {key.decode() for key in client(Role.STATE).scan_iter("ic:{jobs:*")}
    assert left <= {
        "ic:{jobs:default}:queue:default:0",
        "ic:{jobs:default}:levels:default",
        "ic:{jobs:default}:bell:default",
        *(f"ic:{{jobs:default}}:workers:{queue}" for queue in ("default", "bulk")),
    }
    assert client(Role.STATE).xlen("ic:{jobs:default}:queue:default:0") == 0


def test_progress_can_be_seen_while_a_job_runs(worker):  # noqa: F811
    result = tasks.advance.enqueue()
    wait_until(lambda: tasks.notes() == ["begun"])
    result.refresh()
    assert result.progress == Progress(1, 4, "first")
    assert result.progress.percent == 25
    tasks.note("go")
    finished(result)
    assert result.progress == Progress(4, 4, "last")


# --- Cancelling ----------------------------------------------------------------------------------------------------


def test_a_job_that_waits_is_cancelled_and_never_runs():
    results = [
        tasks.say.enqueue("now"),
        tasks.say.using(run_after=timezone.now() + timedelta(hours=1)).enqueue("later"),
    ]
    assert [result.cancel() for result in results] == [True, True]
    results[0].refresh()
    assert results[0].status == TaskResultStatus.FAILED  # at once, without any worker
    assert results[0].errors[0].exception_class is JobCancelled
    run_jobs()
    assert tasks.notes() == []
    for result in results:
        result.refresh()
        assert (result.is_finished, result.attempts) == (True, 0)
        assert client(Role.STATE).ttl(keys.job("default", result.id)) > 0


@pytest.mark.parametrize("long", [tasks.hold, tasks.hold_async], ids=["sync", "async"])
def test_a_job_that_runs_is_interrupted_when_it_is_cancelled(long, worker, listener):  # noqa: F811
    result = long.enqueue()
    wait_until(lambda: tasks.notes() == ["begun"])
    began = time.monotonic()
    assert result.cancel()
    finished(result)
    assert time.monotonic() - began < 1
    assert result.errors[0].exception_class is JobCancelled
    assert client(Role.STATE).zcard(keys.jobs("default", "dead")) == 0
    assert not result.cancel()


def test_a_cancelling_that_was_not_heard_is_found_when_the_lease_is_renewed(quick_lease, worker):  # noqa: F811
    result = tasks.hold.enqueue()
    wait_until(lambda: tasks.notes() == ["begun"])
    assert result.cancel()  # nothing listens here
    finished(result)
    assert not client(Role.STATE).exists(keys.jobs("default", "cancelled"))


def test_a_job_that_is_still_in_the_outbox_is_cancelled_and_never_runs():
    result = in_transaction(tasks.say, "never")
    assert result.cancel()
    carry()
    run_jobs()
    assert tasks.notes() == []
    result.refresh()
    assert [error.exception_class for error in result.errors] == [JobCancelled]
    assert not client(Role.STATE).exists(keys.jobs("default", "cancelled"))
    assert not result.cancel()


def test_a_scheduled_job_that_is_still_in_the_outbox_is_cancelled_when_it_is_carried():
    """Until its time came, a unique one would keep others from being enqueued."""
    result = in_transaction(tasks.say_once.using(run_after=timezone.now() + timedelta(hours=1)), "x")
    assert result.cancel()
    carry()
    result.refresh()
    assert (result.status, unique()) == (TaskResultStatus.FAILED, 0)
    run_jobs()
    result.refresh()
    assert [error.exception_class for error in result.errors] == [JobCancelled]
    assert not client(Role.STATE).exists(keys.jobs("default", "cancelled"))


def test_a_job_that_is_carried_while_it_is_cancelled_in_the_outbox_does_not_wait_for_its_time(monkeypatch):
    result = in_transaction(tasks.say_once.using(run_after=timezone.now() + timedelta(hours=1)), "x")
    waits = carrier.waiting

    def look_and_carry(*args):
        found = waits(*args)
        carry()
        return found

    monkeypatch.setattr(carrier, "waiting", look_and_carry)
    assert result.cancel()
    assert (state_of(result), unique()) == ("cancelled", 0)


def test_a_job_that_fails_while_it_is_cancelled_is_not_tried_again(worker):  # noqa: F811
    result = tasks.fail_when_told.enqueue()
    wait_until(lambda: tasks.notes() == ["begun"])
    assert result.cancel()  # nothing listens here, and the lease is renewed later
    tasks.note("go")
    finished(result)
    assert [error.exception_class for error in result.errors] == [ValueError, JobCancelled]
    assert not client(Role.STATE).exists(keys.jobs("default", "cancelled"))


async def test_a_job_is_cancelled_on_an_event_loop(async_redis):
    result = await tasks.noop_async.aenqueue()
    assert await result.acancel()
    await result.arefresh()
    assert result.status == TaskResultStatus.FAILED


@pytest.fixture
def quick_lease(settings):
    set_options(settings, LEASE=0.6)


def set_options(settings, **options):
    default = settings.TASKS["default"]
    settings.TASKS = {"default": {**default, "OPTIONS": {**default["OPTIONS"], **options}}}


# --- Rates ---------------------------------------------------------------------------------------------------------


async def refuse_twice(name):
    tasks.note(f"asked {name}")
    return 0.05 if len(tasks.notes()) <= 2 else 0.0


def test_a_job_waits_as_long_as_the_limiter_says_and_that_is_no_try(settings):
    set_options(settings, LIMITER="tests.test_jobs.refuse_twice")
    result = tasks.rated.enqueue("run")
    started = JobWorker(concurrency=1)
    started.start()
    try:
        finished(result)
    finally:
        started.stop()
    assert tasks.notes() == ["asked test-rate"] * 3 + ["run"]
    assert result.attempts == 1


async def refuse_always(name):
    return 0.001


def test_who_is_put_off_often_waits_longer_and_no_longer_than_a_minute():
    waits = [running._spread_ms(2.0, 100) for _ in range(200)]
    assert all(2000 <= wait <= 60_000 for wait in waits)
    assert max(waits) > 20_000
    assert all(2000 <= running._spread_ms(2.0, 0) <= 2000 for _ in range(20))
    assert running._spread_ms(300.0, 5) == 300_000


def test_a_job_that_is_unique_until_it_starts_has_not_started_when_it_is_put_off(settings):
    """Else a further one would wait after each time that the limiter refused."""
    set_options(settings, LIMITER="tests.test_jobs.refuse_for_long")
    result = tasks.rated_once.enqueue("x")
    started = JobWorker(concurrency=1)
    started.start()
    try:
        wait_until(lambda: client(Role.STATE).zcard(keys.jobs_of("default", "default", "scheduled")) == 1)
    finally:
        started.stop()
    assert tasks.rated_once.enqueue("x").id == result.id


async def refuse_for_long(name):
    return 100.0


def test_what_is_being_taken_while_the_worker_is_told_to_end_still_runs(monkeypatch):
    original, begun = desk._begin, threading.Event()

    class Slow:
        async def call_async(self, *args):
            answer = await original.call_async(*args)
            begun.set()
            await asyncio.sleep(0.3)
            return answer

    monkeypatch.setattr(desk, "_begin", Slow())
    started = JobWorker(concurrency=1)
    started.start()
    result = tasks.noop.enqueue()
    assert begun.wait(5)
    started.stop()
    result.refresh()
    assert result.status == TaskResultStatus.SUCCESSFUL  # and not in hand until somebody takes it over


def test_how_often_a_job_was_put_off_is_remembered(settings):
    set_options(settings, LIMITER="tests.test_jobs.refuse_always")
    result = tasks.rated.enqueue("never")
    started = JobWorker(concurrency=1)
    started.start()
    try:
        name = keys.job("default", result.id)
        wait_until(lambda: int(client(Role.STATE).hget(name, "o") or 0) >= 3)
    finally:
        started.stop()
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.READY, 0)


def test_a_policy_of_the_limiter_is_the_rate_of_jobs(make_policy, worker):  # noqa: F811
    make_policy("test-rate", subject="named", identity="given", limit="2/min", algorithm=Algorithm.FIXED_WINDOW)
    for number in range(5):
        tasks.rated.enqueue(str(number))
    wait_until(lambda: client(Role.STATE).zcard(keys.jobs_of("default", "default", "scheduled")) == 3)
    wait_until(lambda: len(tasks.notes()) == 2)  # who was let through may not have got that far


# --- Sizes ---------------------------------------------------------------------------------------------------------


def test_arguments_that_are_too_long_are_refused_and_nothing_is_stored():
    """Nor is a row, which no relay could bring to Redis, and all that follow would wait behind it."""
    calls = [Call(tasks.say, ("short",)), Call(tasks.say, ("x" * payload.MOST_BYTES,))]
    with pytest.raises(ValueError, match="keep what is long in the database"):
        default_task_backend.enqueue_many(calls)
    with pytest.raises(ValueError, match="say takes"), transaction.atomic():
        tasks.say.enqueue("x" * payload.MOST_BYTES)
    assert (waiting(), OutboxRow.objects.count()) == (0, 0)


def test_many_long_jobs_are_sent_in_portions_that_redis_takes_in_time(monkeypatch):
    monkeypatch.setattr(store, "MOST_SENT", 1000)
    sent, add = [], store.Store.add

    def count(self, jobs, carrying=None):
        sent.append(sum(len(job.data) for job in jobs))
        return add(self, jobs, carrying)

    monkeypatch.setattr(store.Store, "add", count)
    calls = [Call(tasks.noop, ("x" * size,)) for size in (100, 100, 100, 2000, 100, 850, 100)]
    default_task_backend.enqueue_many(calls)
    with transaction.atomic():
        default_task_backend.enqueue_many(calls)
    carry()
    assert waiting() == 14
    assert len(sent) > 6
    assert max(sent) < 2200
    assert sum(size > 1000 for size in sent) == 2  # each of the one that is longer by itself


def test_a_result_that_is_too_long_or_no_number_fails_in_words(worker):  # noqa: F811
    long, endless = tasks.repeat.enqueue("x", payload.MOST_BYTES), tasks.divide.enqueue(1)
    for result, words in ((long, "The result takes"), (endless, "not JSON compliant")):
        finished(result)
        assert words in result.errors[0].traceback


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_an_argument_that_is_no_number_is_refused_and_not_made_nothing(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        tasks.say.enqueue({"deep": [number]})


# --- Leases --------------------------------------------------------------------------------------------------------


def test_a_job_that_outlasts_its_lease_runs_once(quick_lease):
    workers = [JobWorker(concurrency=1) for _ in range(2)]
    for each in workers:
        each.start()
    result = tasks.hold.enqueue()
    wait_until(lambda: tasks.notes())
    time.sleep(1.5)
    assert tasks.notes() == ["begun"]
    assert result.cancel()
    finished(result)
    for each in workers:
        each.stop()


def test_who_stood_still_for_longer_than_its_lease_cannot_end_its_job_any_more(quick_lease, monkeypatch, caplog):
    """The second worker runs it again; what the first one says later is refused, and it goes on under another name."""
    first, second = JobWorker(concurrency=1), JobWorker(concurrency=1)
    renew = desk.Desk.renew

    async def renew_but_first(self, jobs):
        if self.worker == first.name:
            return []
        return await renew(self, jobs)

    monkeypatch.setattr(desk.Desk, "renew", renew_but_first)
    first.start()
    result = tasks.attempt_slowly.enqueue()
    wait_until(lambda: tasks.notes() == ["begun"])
    second.start()
    try:
        wait_until(lambda: tasks.notes() == ["begun", "begun"])
        tasks.note("go")
        finished(result)
        assert (result.return_value, result.attempts) == (2, 2)
        wait_until(lambda: "has lost its lease" in caplog.text)
        again = tasks.add.enqueue(1, 2)
        finished(again)
    finally:
        first.stop()
        second.stop()


@pytest.mark.parametrize("script", ["_take", "_begin"])
def test_a_job_whose_taking_was_answered_to_nobody_is_run_by_the_same_worker(script, monkeypatch, worker):  # noqa: F811
    """Its lease is renewed on and on, so nobody else would ever take the job over."""
    finished(tasks.noop.enqueue())
    original, lost = getattr(desk, script), []

    class Losing:
        async def call_async(self, *args):
            answer = await original.call_async(*args)
            if not lost and answer and (script == "_begin" or answer[1]):
                lost.append(answer)
                raise ConnectionError("the answer is lost")
            return answer

    monkeypatch.setattr(desk, script, Losing())
    result = tasks.say.enqueue("run")
    finished(result)
    assert lost
    assert (tasks.notes(), result.attempts) == (["run"], 1)
    assert waiting() == 0


def test_a_job_that_is_tried_again_before_the_worker_knows_that_its_try_was_noted(quick_lease, monkeypatch):
    """What is in hand are entries, of which each try has one of its own: with the job's id for a name the end of the
    first try let the second one go, which ran once more, and its place was lost."""
    lost = lose_an_answer(monkeypatch, "_finish")
    started = JobWorker(concurrency=2)
    started.start()
    try:
        result = tasks.ask_to_be_tried_at_once.enqueue()
        finished(result)
    finally:
        started.stop()
    assert lost
    assert (tasks.notes(), result.status) == (["try 1", "try 2"], TaskResultStatus.SUCCESSFUL)


def lose_an_answer(monkeypatch, script):
    original, lost = getattr(desk, script), []

    class Losing:
        async def call_async(self, *args):
            answer = await original.call_async(*args)
            if not lost:
                lost.append(answer)
                raise ConnectionError("the answer is lost")
            return answer

    monkeypatch.setattr(desk, script, Losing())
    return lost


@pytest.fixture
async def desks(async_redis):
    """Of a worker that has looked at the priorities before there were any, and of one that comes later."""
    busy, later = (desk.Desk("default", "default", name, lease=15) for name in ("busy", "later"))
    await busy.join()
    await tasks.noop_async.using(priority=-9).aenqueue()
    await tasks.noop_async.using(priority=50).aenqueue()
    await later.join()
    return busy, later


async def test_a_worker_that_is_always_busy_takes_those_of_a_new_higher_priority_first(desks):
    busy, _later = desks
    assert [job.priority for job in (await busy.take(1)).jobs] == [50]
    assert [job.priority for job in (await busy.take(1)).jobs] == [-9]


async def test_what_a_gone_worker_had_in_hand_of_a_new_priority_is_taken_over(desks):
    """By one that did not know the priority, and would have forgotten whose the job was."""
    busy, killed = desks
    assert len((await killed.take(2)).jobs) == 2
    await killed.leave()
    assert [job.priority for job in (await busy.take(5)).jobs] == [50, -9]


def test_while_redis_has_no_memory_left_jobs_run_and_leases_are_kept(redis_server, quick_lease):
    """Jobs that end give memory back: a full server that keeps them from it would stay full. No new one is taken."""
    results = [tasks.noop.enqueue(), tasks.nap.enqueue(1.5)]
    state = client(Role.STATE)
    state.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(OutOfMemoryError):
            state.set("more", "x")
        workers = [JobWorker(concurrency=1) for _ in range(2)]
        for each in workers:
            each.start()
        for result in results:
            finished(result)
        for each in workers:
            each.stop()
        kept = tasks.noop.enqueue()
    finally:
        state.config_set("maxmemory", "0")
    assert [(result.status, result.attempts) for result in results] == [(TaskResultStatus.SUCCESSFUL, 1)] * 2
    assert OutboxRow.objects.filter(name=kept.id).exists()


def test_a_job_whose_workers_die_again_and_again_is_dead():
    """As one that takes all memory: it must not kill every worker that there is."""
    result = tasks.say.enqueue("x")
    name = keys.job("default", result.id)
    client(Role.STATE).hset(name, "w", ",".join(f"killed-{n}" for n in range(4)))
    run_jobs()
    result.refresh()
    assert tasks.notes() == []
    assert result.errors[0].exception_class is WorkerKilled


def test_a_worker_that_stops_lets_its_jobs_end_and_gives_back_what_does_not(monkeypatch):
    monkeypatch.setattr("intellicolab.jobs.worker.DRAIN_SECONDS", 0.3)
    started = JobWorker(concurrency=2)
    started.start()
    quick, slow, waiting_one = tasks.nap.enqueue(0.1), tasks.hold.enqueue(), tasks.say.enqueue("other")
    wait_until(lambda: "begun" in tasks.notes())
    started.stop()
    for result in (quick, slow, waiting_one):
        result.refresh()
    assert quick.status == TaskResultStatus.SUCCESSFUL
    assert (slow.status, slow.attempts) == (TaskResultStatus.READY, 0)
    assert not client(Role.STATE).exists(keys.jobs_of("default", "default", "workers"))
    assert slow.cancel()
    run_jobs()
    assert tasks.notes()[-1] == "other" or "other" in tasks.notes()


# --- What Redis and the database do --------------------------------------------------------------------------------


def test_in_a_transaction_a_job_is_a_row_and_goes_with_it(relay):
    with transaction.atomic():
        result = tasks.say.enqueue("kept")
        assert OutboxRow.objects.filter(name=result.id).exists()
        assert default_task_backend.get_result(result.id) == result
        assert waiting() == 0
    with transaction.atomic():
        undone = tasks.say.enqueue("never")
        transaction.set_rollback(True)
    wait_until(lambda: waiting() == 1)
    run_jobs()
    assert tasks.notes() == ["kept"]
    with pytest.raises(TaskResultDoesNotExist):
        undone.refresh()


def test_rows_are_carried_once_whatever_is_repeated():
    result = in_transaction(tasks.say, "once")
    carry()
    client(Role.STATE).delete(keys.jobs("default", "fence"))
    carry()
    assert waiting() == 1
    run_jobs()
    carry()
    assert (waiting(), tasks.notes()) == (0, ["once"])
    result.refresh()
    assert result.is_finished


def test_a_job_that_ran_and_was_forgotten_does_not_wait_because_its_row_is_still_there():
    result = in_transaction(tasks.forget, "x")
    assert default_task_backend.get_result(result.id) == result
    carry()
    run_jobs()
    assert OutboxRow.objects.filter(name=result.id).exists()
    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()
    assert not result.cancel()


@pytest.mark.parametrize(
    "look",
    [
        lambda result: result.refresh() or True,
        lambda result: result.cancel(),
        lambda result: details.details("default", result.id),
    ],
    ids=["refresh", "cancel", "details"],
)
def test_a_job_that_is_carried_while_somebody_looks_for_it_is_found(look, monkeypatch):
    """Redis does not know it yet, and then it does not wait in the outbox any more."""
    result = in_transaction(tasks.say, "x")
    waits = carrier.waiting

    def carry_and_look(*args):
        carry()
        return waits(*args)

    monkeypatch.setattr(carrier, "waiting", carry_and_look)
    assert look(result)


def test_a_row_that_cannot_be_read_is_a_dead_letter_and_holds_up_nothing():
    bad = OutboxRow.objects.create(stream="jobs.default", name="b" * 32, version=1, data="{")
    carry()
    assert DeadLetter.objects.get().name == bad.name
    bad.refresh_from_db()
    assert default_task_backend.store.carried() == bad.position
    in_transaction(tasks.say, "after it")
    carry()
    run_jobs()
    assert tasks.notes() == ["after it"]


def test_what_redis_has_lost_is_carried_again():
    in_transaction(tasks.say, "one")
    carry()
    client(Role.STATE).flushall()
    in_transaction(tasks.say, "two")
    carry()
    run_jobs()
    assert sorted(tasks.notes()) == ["one", "two"]


def test_a_time_and_a_priority_survive_the_outbox():
    later = timezone.now() + timedelta(hours=1)
    with transaction.atomic():
        result = tasks.say.using(run_after=later, priority=9, queue_name="bulk").enqueue("x")
    carry()
    assert default_task_backend.get_result(result.id) == result
    assert client(Role.STATE).zrange(keys.jobs_of("default", "bulk", "scheduled"), 0, -1) == [f"{result.id}:9".encode()]


def test_a_unique_job_of_the_outbox_gives_way_to_one_that_waits():
    first = tasks.say_once.enqueue("a")
    second = in_transaction(tasks.say_once, "a")
    carry()
    assert default_task_backend.get_result(second.id).id == first.id
    run_jobs()
    assert tasks.notes() == ["a"]


def test_rows_that_cannot_be_read_keep_nobody_whether_or_not_a_job_follows_them(relay):
    def poison(count):
        rows = [OutboxRow(stream="jobs.default", name=f"{n:032}", version=1, data="{") for n in range(count)]
        OutboxRow.objects.bulk_create(rows)

    poison(store.AT_ONCE + 1)  # a batch has nothing else in it
    wait_until(lambda: DeadLetter.objects.filter(group="jobs").count() == store.AT_ONCE + 1)
    poison(1)
    in_transaction(tasks.say, "one")
    poison(1)
    wait_until(lambda: DeadLetter.objects.filter(group="jobs").count() == store.AT_ONCE + 3)
    in_transaction(tasks.say, "two")
    wait_until(lambda: waiting() == 2)
    assert store.Store("default").carried() == store.AT_ONCE + 5


def in_transaction(task, *args):
    with transaction.atomic():
        return task.enqueue(*args)


def carry():
    """One round of the relay."""
    relay = Relay()
    relay.start()
    relay.stop()


def test_a_queue_that_is_full_takes_no_more_and_says_so(monkeypatch):
    monkeypatch.setattr(store, "MOST", 3)
    for _ in range(3):
        tasks.noop.enqueue()
    with pytest.raises(QueueFull, match="holds 3 jobs"):
        tasks.noop.enqueue()
    assert waiting() == 3


def test_nor_can_more_be_scheduled_than_redis_has_room_for(monkeypatch):
    monkeypatch.setattr(store, "MOST", 3)
    later = tasks.noop.using(run_after=timezone.now() + timedelta(days=1))
    for _ in range(3):
        later.enqueue()
    with pytest.raises(QueueFull, match="holds 3 jobs"):
        later.enqueue()


def test_many_jobs_are_enqueued_at_once_in_their_order():
    results = default_task_backend.enqueue_many([Call(tasks.say, (str(n),)) for n in range(1203)])
    assert len({result.id for result in results}) == 1203
    assert waiting() == 1203
    run_jobs(concurrency=1)
    assert tasks.notes() == [str(n) for n in range(1203)]


def test_two_workers_share_the_work_and_each_job_runs_once():
    default_task_backend.enqueue_many([Call(tasks.say, (str(n),)) for n in range(500)])
    workers = [JobWorker(concurrency=3) for _ in range(2)]
    for each in workers:
        each.start()
    wait_until(lambda: waiting() == 0)
    for each in workers:
        each.stop()
    assert sorted(map(int, tasks.notes())) == list(range(500))


def test_a_worker_of_two_queues_fetches_no_more_than_it_runs(monkeypatch):
    """What waits behind long jobs of the other queue could be run by another worker."""
    monkeypatch.setattr("intellicolab.jobs.slots.QUICK", 0.0)
    for queue in ("default", "bulk"):
        default_task_backend.enqueue_many([Call(tasks.nap.using(queue_name=queue), (0.5,)) for _ in range(2)])
    started, most = JobWorker(concurrency=2), []
    started.start()
    try:
        wait_until(lambda: most.append(started.running) or waiting() == 0)
    finally:
        started.stop()
    assert max(most) == 2


def test_an_idle_worker_starts_a_job_at_once(worker):  # noqa: F811
    waits = []
    for _ in range(20):
        result = tasks.noop_async.enqueue()
        finished(result)
        waits.append(result.started_at - result.enqueued_at)
        time.sleep(0.02)
    assert sorted(waits)[10] < timedelta(seconds=0.1)  # a worker that polls each second takes 0.5


def test_threads_of_ended_workers_are_gone():
    before = threading.active_count()
    started = JobWorker(concurrency=4)
    started.start()
    finished(tasks.noop.enqueue())
    started.stop()
    wait_until(lambda: threading.active_count() <= before + 1)  # one of asgiref's stays
    assert post.LOOK <= 1
