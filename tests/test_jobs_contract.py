"""What Django Tasks promises, clause by clause, kept by our backend."""

import logging
import uuid
from datetime import timedelta

import pytest
from django.core.exceptions import SuspiciousOperation
from django.utils import timezone
from django_tasks import TaskResultStatus, default_task_backend, task, task_backends
from django_tasks.exceptions import InvalidTaskError, TaskResultDoesNotExist, TaskResultMismatch
from django_tasks.signals import task_enqueued, task_finished, task_started
from django_tasks.utils import normalize_json

from intellicolab.jobs.backend import RedisBackend
from intellicolab.jobs.payload import normal
from intellicolab.jobs.results import JobResult, task_at
from intellicolab.jobs.store import NewJob
from intellicolab.redis import keys

from . import job_tasks as tasks
from .job_workers import finished, run_jobs, worker  # noqa: F401  fixtures
from .test_events import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.topology]

PAIRS = [(tasks.noop, "sync"), (tasks.noop_async, "async")]


@pytest.fixture(params=[tasks.noop, tasks.noop_async], ids=["sync", "async"])
def noop(request):
    return request.param


@pytest.fixture
def signals():
    heard = []

    def hear(signal, name):
        def receive(sender, task_result, **kwargs):
            heard.append((name, sender, task_result.id, task_result.status, len(task_result.worker_ids)))

        signal.connect(receive, weak=False)
        return signal, receive

    receivers = [
        hear(signal, name)
        for signal, name in ((task_enqueued, "enqueued"), (task_started, "started"), (task_finished, "finished"))
    ]
    yield heard
    for signal, receive in receivers:
        signal.disconnect(receive)


def test_the_default_backend_is_ours_and_says_what_it_supports():
    backend = task_backends["default"]
    assert isinstance(backend, RedisBackend)
    assert default_task_backend == backend
    assert backend.alias == "default"
    assert backend.supports_defer
    assert backend.supports_async_task
    assert backend.supports_get_result
    assert backend.supports_priority
    assert list(backend.check()) == []


# --- Enqueueing ----------------------------------------------------------------------------------------------------


def test_an_enqueued_job_is_ready_and_knows_its_arguments(noop):
    result = noop.enqueue(1, two=3)
    assert (result.status, result.is_finished, result.attempts) == (TaskResultStatus.READY, False, 0)
    assert (result.started_at, result.last_attempted_at, result.finished_at) == (None, None, None)
    assert (result.task, result.args, result.kwargs, result.backend) == (noop, [1], {"two": 3}, "default")
    assert timezone.now() - result.enqueued_at < timedelta(seconds=5)
    with pytest.raises(ValueError, match="not finished yet"):
        _ = result.return_value


async def test_it_is_enqueued_on_an_event_loop_likewise(noop, async_redis):
    result = await noop.aenqueue(1, two=3)
    assert (result.status, result.args, result.kwargs) == (TaskResultStatus.READY, [1], {"two": 3})
    assert await default_task_backend.aget_result(result.id) == result


def test_the_result_is_found_again_and_is_equal():
    result = tasks.add.using(priority=7).enqueue(1, two=3)
    found = default_task_backend.get_result(result.id)
    assert found == result
    assert found.task.priority == 7
    assert tasks.add.get_result(result.id) == result


def test_arguments_are_turned_into_json_and_others_refused_with_nothing_stored():
    result = tasks.noop.enqueue((1, 2), b"bytes", mapping={"a": (3,)})
    assert result.args == [[1, 2], "bytes"]
    assert result.kwargs == {"mapping": {"a": [3]}}
    for unfit in (object(), {1, 2}, timezone.now()):
        with pytest.raises(TypeError, match="Unsupported type"):
            tasks.noop.enqueue(unfit)
    with pytest.raises(ValueError, match="Unsupported value"):
        tasks.noop.enqueue(b"\xff")


class Text(str):
    pass


@pytest.mark.parametrize(
    "value",
    [(1, "b", None), [1, [2]], {"a": 1.5}, {"a": (1,)}, {1: 2}, {Text("a"): Text("b")}, Text("x"), True, (b"x",)],
)
def test_the_short_way_to_json_comes_to_what_the_long_way_does(value):
    stored = normal(value)
    assert (stored, type(stored)) == (normalize_json(value), type(normalize_json(value)))
    assert stored is not value or not isinstance(value, list | dict)  # who changes theirs later changes no job


def test_ids_are_unlike_each_other_and_of_32_characters():
    ids = {tasks.noop.enqueue().id for _ in range(20)}
    assert len(ids) == 20
    assert {len(each) for each in ids} == {32}


def test_an_unknown_result_does_not_exist():
    for unknown in (str(uuid.uuid4()), "123", ""):
        with pytest.raises(TaskResultDoesNotExist):
            default_task_backend.get_result(unknown)


async def test_an_unknown_result_does_not_exist_on_an_event_loop_either(async_redis):
    with pytest.raises(TaskResultDoesNotExist):
        await default_task_backend.aget_result("123")


def test_a_result_of_another_task_is_a_mismatch():
    result = tasks.noop.enqueue()
    with pytest.raises(TaskResultMismatch):
        tasks.add.get_result(result.id)


async def test_a_result_of_another_task_is_a_mismatch_on_an_event_loop_too(async_redis):
    result = await tasks.noop.aenqueue()
    with pytest.raises(TaskResultMismatch):
        await tasks.add.aget_result(result.id)


def test_a_path_that_leads_to_no_task_is_suspicious():
    made = tasks.noop.enqueue()
    payload = default_task_backend.store.record(made.id)[1]
    bad = NewJob("a" * 32, _decoded(payload, path="tests.job_tasks.not_a_task"))
    default_task_backend.store.add([bad])
    with pytest.raises(SuspiciousOperation, match="not_a_task is not a task"):
        default_task_backend.get_result(bad.id)


def _decoded(record, **changes):
    import msgspec

    from intellicolab.jobs.payload import decode

    return msgspec.structs.replace(decode(record[b"d"]), **changes)


# --- What a task may be --------------------------------------------------------------------------------------------


def test_only_functions_of_a_module_are_tasks():
    with pytest.raises(InvalidTaskError, match="module level"):

        @task
        def inner():
            pass

    with pytest.raises(InvalidTaskError, match="module level"):
        task(lambda: None)
    with pytest.raises(InvalidTaskError, match="module level"):
        task(print)


def test_a_task_that_takes_its_context_has_an_argument_for_it():
    with pytest.raises(InvalidTaskError, match="first argument of 'context'"):
        task(takes_context=True)(_without_context)


def _without_context(other):
    pass


@pytest.mark.parametrize("priority", [-101, 101, 3.5])
def test_priorities_are_whole_numbers_up_to_100(priority):
    with pytest.raises(InvalidTaskError, match="whole number"):
        tasks.noop.using(priority=priority)


def test_a_queue_must_be_one_of_the_backends():
    with pytest.raises(InvalidTaskError, match="'elsewhere' is not valid"):
        tasks.noop.using(queue_name="elsewhere")


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(InvalidTaskError, match="aware"):
        tasks.noop.using(run_after=timezone.make_naive(timezone.now()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retries": -1}, "retries"),
        ({"retries": 1.5}, "retries"),
        ({"backoff": 0}, "backoff"),
        ({"time_limit": 0}, "time_limit"),
        ({"keep": -1}, "keep"),
        ({"keep": float("inf")}, "keep"),
        ({"unique_until": "noon"}, "unique_until"),
    ],
)
def test_options_that_cannot_be_are_refused_in_words(options, message):
    with pytest.raises(InvalidTaskError, match=message):
        task(**options)(tasks.noop.func)


# --- Running -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adding", [tasks.add, tasks.add_async], ids=["sync", "async"])
def test_a_job_runs_and_its_result_is_refreshed(adding, worker):  # noqa: F811
    result = adding.enqueue(1, two=41)
    finished(result)
    assert (result.status, result.return_value, result.attempts) == (TaskResultStatus.SUCCESSFUL, 42, 1)
    assert result.enqueued_at <= result.started_at == result.last_attempted_at <= result.finished_at
    assert result.worker_ids[0].count("-") >= 2
    assert len(result.worker_ids[0]) <= 64
    assert result.errors == []


async def test_a_result_is_refreshed_on_an_event_loop(worker, async_redis):  # noqa: F811
    import asyncio

    result = await tasks.add_async.aenqueue(1, 2)
    async with asyncio.timeout(10):
        while not result.is_finished:
            await asyncio.sleep(0.01)
            await result.arefresh()
    assert result.return_value == 3


@pytest.mark.parametrize(
    ("failing", "error", "text"),
    [
        (tasks.fail, ValueError, "ValueError: it fails\n"),
        (tasks.leave, SystemExit, "SystemExit: leaving\n"),
        (tasks.leave_async, SystemExit, "SystemExit: leaving\n"),
        (tasks.return_half_a_character, UnicodeEncodeError, "surrogates not allowed\n"),
        (tasks.return_what_json_cannot_hold, TypeError, "Unsupported type: <class 'object'>\n"),
    ],
    ids=["exception", "exit", "async exit", "half a character", "unfit result"],
)
def test_a_job_that_fails_keeps_its_error(failing, error, text, worker):  # noqa: F811
    result = failing.enqueue()
    finished(result)
    assert (result.status, result.attempts, result._return_value) == (TaskResultStatus.FAILED, 1, None)
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value
    assert [each.exception_class for each in result.errors] == [error]
    assert result.errors[0].traceback.endswith(text)
    assert result.enqueued_at <= result.started_at <= result.finished_at
    after = tasks.add.enqueue(1, 1)
    finished(after)
    assert after.return_value == 2  # the worker has survived it


def test_a_chain_of_errors_is_kept_whole(worker):  # noqa: F811
    result = tasks.fail_in_a_chain.enqueue()
    finished(result)
    assert "KeyError: 'the cause'" in result.errors[0].traceback
    assert result.errors[0].exception_class is ValueError


def test_arguments_that_do_not_fit_fail_the_job(worker):  # noqa: F811
    result = tasks.add.enqueue(1)
    finished(result)
    assert result.errors[0].exception_class is TypeError


@pytest.mark.parametrize("asking", [tasks.attempt, tasks.attempt_async], ids=["sync", "async"])
def test_a_task_may_take_its_context(asking, worker):  # noqa: F811
    result = asking.enqueue()
    finished(result)
    value = result.return_value
    assert value in (1, [1, result.id, []])


def test_a_deferred_job_waits_for_its_time(worker):  # noqa: F811
    soon = timezone.now() + timedelta(seconds=0.4)
    result = tasks.noop.using(run_after=soon).enqueue()
    assert result.task.run_after == soon
    assert default_task_backend.get_result(result.id) == result
    finished(result)
    assert soon <= result.started_at < soon + timedelta(seconds=0.9)


def test_a_time_that_has_passed_is_now(worker):  # noqa: F811
    result = tasks.noop.using(run_after=timezone.now() - timedelta(days=1)).enqueue()
    finished(result)


def test_higher_priorities_run_first():
    for priority in (0, -100, 100, 5, 0):
        tasks.say.using(priority=priority).enqueue(str(priority))
    run_jobs(concurrency=1)
    assert tasks.notes() == ["100", "5", "0", "0", "-100"]


def test_a_priority_that_comes_into_use_is_found_by_who_waits(worker):  # noqa: F811
    for priority in (3, -3, 4):
        finished(tasks.noop.using(priority=priority).enqueue())


def test_queues_are_apart():
    here, there = tasks.noop.enqueue(), tasks.noop.using(queue_name="bulk").enqueue()
    run_jobs("bulk")
    here.refresh()
    there.refresh()
    assert (here.is_finished, there.is_finished) == (False, True)


def test_each_step_sends_its_signal(signals, worker):  # noqa: F811
    result, failing = tasks.add_async.enqueue(1, 2), tasks.fail.enqueue()
    wait_until(lambda: len(signals) == 6)
    mine = [each for each in signals if each[2] == result.id]
    assert mine == [
        ("enqueued", RedisBackend, result.id, TaskResultStatus.READY, 0),
        ("started", RedisBackend, result.id, TaskResultStatus.RUNNING, 1),
        ("finished", RedisBackend, result.id, TaskResultStatus.SUCCESSFUL, 1),
    ]
    assert [each[0::3] for each in signals if each[2] == failing.id][-1] == ("finished", TaskResultStatus.FAILED)


def test_who_hears_that_a_job_has_finished_may_use_the_database_and_finds_the_result_stored(worker):  # noqa: F811
    from django.contrib.auth.models import Group

    found = []

    def receive(sender, task_result, **kwargs):
        found.append((Group.objects.count(), default_task_backend.get_result(task_result.id).return_value))

    task_finished.connect(receive)
    try:
        tasks.add_async.enqueue(1, 2)
        wait_until(lambda: found)
    finally:
        task_finished.disconnect(receive)
    assert found == [(0, 3)]


def test_a_receiver_that_fails_changes_nothing(worker, caplog):  # noqa: F811
    def receive(sender, **kwargs):
        raise ValueError("a receiver's")

    for signal in (task_enqueued, task_started, task_finished):
        signal.connect(receive)
    try:
        result = tasks.add.enqueue(1, 2)
        finished(result)
    finally:
        for signal in (task_enqueued, task_started, task_finished):
            signal.disconnect(receive)
    assert result.return_value == 3


def test_the_packages_own_log_tells_of_each_step(caplog):
    with caplog.at_level(logging.DEBUG, "django_tasks"):
        good, bad = tasks.add.enqueue(1, 2), tasks.fail.enqueue()
        run_jobs(concurrency=1)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "django_tasks"]
    assert [text for _level, text in lines if good.id in text] == [
        f"Task id={good.id} path=tests.job_tasks.add enqueued backend=default",
        f"Task id={good.id} path=tests.job_tasks.add state=RUNNING",
        f"Task id={good.id} path=tests.job_tasks.add state=SUCCESSFUL",
    ]
    assert ("ERROR", f"Task id={bad.id} path=tests.job_tasks.fail state=FAILED") in lines


def test_the_result_is_ours_and_task_at_finds_tasks():
    assert isinstance(tasks.noop.enqueue(), JobResult)
    assert task_at("tests.job_tasks.noop") is tasks.noop
    assert keys.job("default", "x") == "ic:{jobs:default}:job:x"
