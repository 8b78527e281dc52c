"""The admin's pages about jobs: what is shown, who may do what, what is noted of it, and what is told in words."""

import html
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.messages.storage.cookie import CookieStorage
from django.db import OperationalError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from intellicolab.dashboard import dead_views, job_views, journal
from intellicolab.dashboard import overview as first_page
from intellicolab.dashboard.job_plans import schedule_words
from intellicolab.jobs import carrier, figures, operations, plans, problems
from intellicolab.jobs.backend import Call
from intellicolab.jobs.batches import Batch
from intellicolab.jobs.details import Where, details
from intellicolab.jobs.models import PlannedJob
from intellicolab.jobs.payload import Payload
from intellicolab.jobs.plans import plan
from intellicolab.jobs.schedules import Cron, Every, Missed
from intellicolab.jobs.store import NewJob, Store
from intellicolab.jobs.worker import queues
from intellicolab.redis import keys
from intellicolab.redis.client import Role
from intellicolab.redis.client import client as redis_client
from intellicolab.redis.heartbeat import Heartbeat
from intellicolab.redis.lock import Lock

from . import job_tasks as tasks
from .job_workers import listener, run_jobs, state_of, worker  # noqa: F401  fixtures
from .test_events import wait_until
from .test_events_page import confirm, noted, words

pytestmark = pytest.mark.django_db(transaction=True)

HOURLY = Every(3600, anchor=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture(autouse=True)
def no_plans(monkeypatch):
    monkeypatch.setattr(plans, "_plans", {})


@pytest.fixture
def asked(rf, root):
    """Call with a view and its arguments: what an administrator reads, without a session, which is in Redis."""

    def ask(view, *args, method="get", **data):
        request = getattr(rf, method)("/admin/jobs/", data)
        request.user, request._messages = root, CookieStorage(request)
        response = view(request, *args)
        if response.status_code == 302:
            return [str(message) for message in request._messages]
        return words(response.render().content.decode())

    return ask


def queue(name="default"):
    return queues([name])[0]


def jobs(client):
    response = client.get(reverse("admin:jobs"))
    assert response.status_code == 200
    return words(response.content.decode())


def listed(client, kind, **query):
    path = reverse("admin:jobs_of_queue", args=["default", "default", kind])
    return client.get(path, query).content.decode()


def address(result):
    return reverse("admin:job", args=["default", result.id])


def act(client, result, action, **extra):
    return client.post(reverse("admin:job_act", args=["default", result.id, action]), follow=True, **extra)


def later(task, **changes):
    return task.using(run_after=timezone.now() + timedelta(hours=1, seconds=30), **changes)


def put(path):
    """A job of a task that this version of the code has not."""
    job = NewJob(f"{len(path):032x}", Payload(path, "default", 0, ["x"], {"key": "y"}, 1_700_000_000_000_000))
    Store("default").add([job])
    return job


def dead(count):
    for number in range(count):
        tasks.fail.enqueue(f"{number}")
    run_jobs()
    return [row.id for row in figures.dead("default", count=count)]


# --- The page ------------------------------------------------------------------------------------------------------


@pytest.mark.topology
@pytest.mark.database
def test_it_shows_queues_plans_and_workers(asked):
    plan("greet everybody", tasks.say, HOURLY)
    PlannedJob.objects.create(name="greet everybody", last=timezone.now())
    PlannedJob.objects.create(name="of an older version", last=timezone.now())
    Heartbeat(queues=lambda: ["default"], jobs=lambda: "3 in hand, 16 at a time").beat()
    tasks.noop.enqueue()
    later(tasks.noop).enqueue()
    operations.pause("default", "bulk")
    shown = asked(job_views.jobs)
    for expected in (
        "All is well.",
        "Oldest waiting job under a second",
        "Waiting 1 ",
        "Scheduled 1 ",
        "Dead 0 no job has been given up",
        "bulk nothing waits paused 0 0 0 0 0 Resume",
        "default under a second runs 1 0 1 0 0 Pause",
        "greet everybody tests.job_tasks.say on time every hour not yet in ",
        "of an older version declared nowhere",
        "No worker holds the lock of the scheduler",
        "queues: default; jobs: 3 in hand, 16 at a time",
        "Nobody has done anything here yet.",
    ):
        assert expected in shown


def test_without_redis_it_shows_what_the_code_and_the_database_know(asked, redis_server):
    plan("greet everybody", tasks.say, HOURLY)
    PlannedJob.objects.create(name="greet everybody", last=timezone.now())
    redis_server.kill()
    shown = asked(job_views.jobs)
    assert "No job runs until it is back; what is enqueued meanwhile waits in the database." in shown
    assert "default not known" in shown
    assert "greet everybody tests.job_tasks.say on time every hour" in shown
    for read, *args in (
        (job_views.jobs_of_queue, "default", "default", "waiting"),
        (job_views.dead_jobs, "default"),
        (job_views.job, "default", "0" * 32),
    ):
        assert "Jobs are kept in Redis, which gives no connection." in asked(read, *args)
    told = "Redis gives no connection. Look here whether it was done, and else try again."
    for change, *args in (
        (job_views.act_on_job, "default", "0" * 32, "cancel"),
        (job_views.pause_queue, "default", "bulk"),
        (dead_views.retry_all, "default"),
    ):
        assert asked(change, *args, method="get" if change is dead_views.retry_all else "post")[-1].endswith(told)
    assert noted() == []


def test_what_redis_refuses_is_told_as_a_refusal_and_not_noted(asked):
    redis_client(Role.STATE).set(keys.jobs("default", "paused"), "no set")
    told = asked(job_views.pause_queue, "default", "bulk", method="post")
    assert told == [
        "queue bulk: Redis gives a refusal: WRONGTYPE Operation against a key holding the wrong kind of value. Look "
        "here whether it was done, and else try again."
    ]
    assert "Redis, which gives a refusal: WRONGTYPE Operation" in asked(job_views.jobs)
    assert noted() == []


def test_the_first_page_and_the_sidebar_lead_there(admin):
    text = admin.get(reverse("admin:index")).content.decode()
    assert text.count(f'href="{reverse("admin:jobs")}"') >= 2
    assert reverse("admin:jobs_dead", args=["default"]) in text
    assert jobs(admin).count("Jobs") > 1


def test_schedules_are_told_in_words():
    anchor = datetime(2026, 1, 1, tzinfo=UTC)
    assert schedule_words(Cron("30 3 * * *", "Europe/Berlin")) == "30 3 * * * (Europe/Berlin)"
    assert [schedule_words(Every(seconds, anchor)) for seconds in (60, 90, 7200, 1.5)] == [
        "every minute",
        "every 90 seconds",
        "every 2 hours",
        "every 1.5 seconds",
    ]


# --- Lists ---------------------------------------------------------------------------------------------------------


@pytest.mark.topology
def test_a_list_goes_on_where_its_last_page_ended(monkeypatch):
    wait = [tasks.add.using(priority=level).enqueue(1, 2).id for level in (9, 9, 0, 0, -5)]
    soon = timezone.now() + timedelta(hours=1)
    at = [tasks.say.using(run_after=soon + timedelta(seconds=number)) for number in range(5)]
    come = [task.enqueue("x").id for task in at]
    for read, expected in ((figures.waiting, wait), (figures.scheduled, come)):
        first = read(queue(), count=2)
        second = read(queue(), first.after, count=2)
        third = read(queue(), second.after, count=2)
        assert [row.id for page in (first, second, third) for row in page] == expected
        assert third.after == ""
    beyond = str(2**63)
    for place in ("x", "9/x", "9", f"9/{beyond}-0", "9/-1-0"):
        with pytest.raises(ValueError):  # noqa: PT011
            figures.waiting(queue(), place)
    for read, *of in ((figures.scheduled, queue()), (figures.dead, "default")):
        for place in (beyond, "-1"):
            with pytest.raises(ValueError, match="no place"):
                read(*of, place)


def test_what_workers_take_while_it_is_counted_does_not_wait_less_than_not_at_all(monkeypatch):
    tasks.noop.enqueue()
    ask = figures._groups

    def after_all_were_taken(streams):
        """Between the two questions come more, and a worker takes all."""
        for _number in range(3):
            tasks.noop.enqueue()
        for stream in streams:
            redis_client(Role.STATE).xgroup_create(stream, "workers", id="0")
            redis_client(Role.STATE).xreadgroup("workers", "a worker", {stream: ">"})
        return ask(streams)

    monkeypatch.setattr(figures, "_groups", after_all_were_taken)
    found = figures.queue_figures(queue())
    assert (found.waiting, found.running) == (0, 4)


@pytest.mark.parametrize("kind", ["waiting", "dead"])
def test_what_turns_text_around_is_shown_as_its_code(admin, kind):
    result = tasks.fail.enqueue("pay \u202eecila\x1b")
    if kind == "dead":
        run_jobs()
    text = admin.get(reverse("admin:jobs_dead", args=["default"])).content.decode() if kind == "dead" else ""
    for shown in (text or listed(admin, kind), admin.get(address(result)).content.decode()):
        assert "\u202e" not in shown
        assert "pay \\u202eecila" in shown


def test_pages_of_a_list_lead_on_and_back(admin, monkeypatch):
    monkeypatch.setattr(figures.waiting, "__defaults__", ("", 2))
    for number in range(3):
        tasks.noop.enqueue(f"job {number}")
    first = listed(admin, "waiting")
    assert '"job 0"' in html.unescape(first)
    assert '"job 2"' not in html.unescape(first)
    (following,) = re.findall(r'href="[^"]*\?after=([^"]+)">The next ones', first)
    assert '"job 2"' in html.unescape(listed(admin, "waiting", after=following.replace("%2F", "/")))
    for queue_name, kind, after in (("default", "waiting", "x"), ("default", "typo", ""), ("typo", "waiting", "")):
        path = reverse("admin:jobs_of_queue", args=["default", queue_name, kind])
        assert admin.get(path, {"after": after}).status_code == 404


@pytest.mark.database
def test_what_no_job_can_be_called_is_not_found(admin):
    for name in ("", "a\0b", "a b"):
        answer = admin.get(reverse("admin:jobs_find"), {"id": name})
        assert answer.status_code == 404
        assert "There is no job" in words(answer.content.decode())


@pytest.mark.database
def test_what_runs_is_shown_with_its_worker_and_progress_and_is_cancelled(admin, worker, listener):  # noqa: F811
    result = tasks.advance.enqueue()
    wait_until(lambda: tasks.notes() == ["begun"])
    text = listed(admin, "running")
    assert '<progress aria-label="Progress" max="100" value="25">' in text
    assert f"1 of 4 first {worker.name}" in words(text)
    question = admin.get(reverse("admin:job_act", args=["default", result.id, "cancel"]), {"next": "/admin/jobs/"})
    assert "it is interrupted; what it has done so far stays done" in words(question.content.decode())
    path = question.request["PATH_INFO"] + "?" + question.request["QUERY_STRING"]
    answer = admin.post(path, follow=True)
    assert answer.request["PATH_INFO"] == "/admin/jobs/"
    assert f"Cancelled: tests.job_tasks.advance {result.id}." in words(answer.content.decode())
    wait_until(lambda: state_of(result) == "failed")
    shown = words(admin.get(address(result)).content.decode())
    assert "State failed" in shown
    assert "intellicolab.jobs.errors.JobCancelled, number 1" in shown
    again = words(act(admin, result, "cancel").content.decode())
    assert "it had ended already" in again
    assert noted() == [(f"tests.job_tasks.advance {result.id}", "Cancelled.", "Root")]


def test_what_was_cancelled_and_still_waits_is_not_cancelled_again(admin):
    assert tasks.say.enqueue("x").cancel()
    text = listed(admin, "waiting")
    assert "cancelled: it ends as soon as a worker is free" in text
    assert "/cancel/" not in text


def test_what_waits_for_its_time_is_sent_at_once(admin):
    result = later(tasks.say).enqueue("x")
    text = listed(admin, "scheduled")
    assert "in 1 hour" in text
    assert f'action="{reverse("admin:job_act", args=["default", result.id, "run"])}?next=' in text
    assert "Sent to the workers" in words(act(admin, result, "run").content.decode())
    assert [row.id for row in figures.waiting(queue())] == [result.id]
    assert "it no longer waits for its time" in words(act(admin, result, "run").content.decode())
    assert [sentence for _subject, sentence, _who in noted()] == ["Sent to the workers."]


def test_what_is_tried_again_is_shown_with_its_last_error(admin):
    result = tasks.fail_slowly.enqueue()
    run_jobs()
    wait_until(lambda: figures.retrying(queue()))
    shown = words(listed(admin, "retrying"))
    assert "tests.job_tasks.fail_slowly Run now tests.job_tasks.fail_slowly Cancel" in shown
    assert "ValueError: slowly 1" in shown
    page = words(admin.get(address(result)).content.decode())
    assert "State waits for its next try" in page
    assert "1 try, by" in page


def test_nobody_is_sent_elsewhere_after_an_action(admin):
    result = later(tasks.say).enqueue("x")
    path = reverse("admin:job_act", args=["default", result.id, "run"])
    answer = admin.post(f"{path}?next=https://example.org/")
    assert answer["Location"] == address(result)


# --- Dead jobs -----------------------------------------------------------------------------------------------------


@pytest.mark.topology
@pytest.mark.database
def test_the_dead_are_retried_and_discarded_one_by_one(admin):
    first, second = dead(2)
    path = reverse("admin:jobs_dead", args=["default"])
    shown = words(admin.get(path).content.decode())
    assert "2 jobs have failed in all tries." in shown
    assert "ValueError: 0 1 " in shown
    retried = admin.post(reverse("admin:job_act", args=["default", first, "retry"]) + f"?next={path}", follow=True)
    assert f"Retried: tests.job_tasks.fail {first}." in words(retried.content.decode())
    assert details("default", first).where is Where.WAITING
    question = admin.get(reverse("admin:job_act", args=["default", second, "discard"]))
    assert "its errors are forgotten" in words(question.content.decode())
    assert figures.dead_count("default") == 1
    assert confirm(admin, question).request["PATH_INFO"] == path
    assert details("default", second) is None
    assert [sentence for _subject, sentence, _who in noted()] == ["Retried.", "Discarded."]


@pytest.mark.topology
def test_all_dead_jobs_are_retried_in_batches_and_those_that_die_meanwhile_are_left(admin, monkeypatch):
    monkeypatch.setattr(dead_views, "BATCH", 2)
    dead(3)
    stuck = tasks.fail_once_each.enqueue("a")
    run_jobs()
    tasks.fail_once_each.enqueue("a")  # which must be the only one
    question = admin.get(reverse("admin:jobs_retry_all", args=["default"]))
    assert "Retry 4 dead jobs?" in words(question.content.decode())
    more = confirm(admin, question)
    assert "Retried: 2 dead jobs. " in words(more.content.decode())
    assert "Retry the other 2 dead jobs?" in words(more.content.decode())
    operations.pause("default", "default")
    shown = words(confirm(admin, more).content.decode())
    assert "Retried: 1 dead job. " in shown
    assert "1 dead job stay: it was left as it is." in shown
    assert [row.id for row in figures.dead("default")] == [stuck.id]
    assert [entry[:2] for entry in noted()] == [
        ("dead jobs of default", "Retried: 2 dead jobs."),
        ("dead jobs of default", "Retried: 1 dead job."),
    ]


def test_those_that_are_forgotten_hold_up_nothing_when_all_are_retried(admin, monkeypatch):
    monkeypatch.setattr(dead_views, "BATCH", 2)
    dead(3)
    forgotten = {f"{number:032x}": 1_700_000_000_000 for number in range(5)}
    redis_client(Role.STATE).zadd(keys.jobs("default", "dead"), forgotten)
    more = confirm(admin, admin.get(reverse("admin:jobs_retry_all", args=["default"])))
    assert "Retry the other 1 dead job?" in words(more.content.decode())
    shown = words(confirm(admin, more).content.decode())
    assert "Retried: 1 dead job. " in shown
    assert "left as" not in shown
    assert figures.dead_count("default") == 0


def test_all_dead_jobs_are_discarded_after_a_question(admin):
    dead(2)
    question = admin.get(reverse("admin:jobs_discard_all", args=["default"]))
    assert figures.dead_count("default") == 2
    tasks.fail.enqueue("later")
    run_jobs()
    assert "Discarded: 2 dead jobs." in words(confirm(admin, question).content.decode())
    assert [row.error for row in figures.dead("default")] == ["ValueError: later"]
    assert admin.post(reverse("admin:jobs_discard_all", args=["default"])).status_code == 404


def test_what_was_done_before_an_outage_is_noted(asked, monkeypatch, redis_server):
    dead(3)
    operation, done = dead_views.DISCARD.do, []

    def discard(backend, job_id):
        if done:
            redis_server.kill()
        done.append(job_id)
        return operation(backend, job_id)

    monkeypatch.setattr(dead_views, "DISCARD", replace(dead_views.DISCARD, do=discard))
    told = asked(dead_views.discard_all, "default", method="post", until=timezone.now().isoformat(), passed=0)
    assert [message.split(":")[0] for message in told] == ["Discarded", "Dead jobs"]
    assert noted() == [("dead jobs of default", "Discarded: 1 dead job.", "Root")]


def test_a_plan_that_is_run_while_redis_is_away_waits_in_the_outbox(asked, redis_server):
    plan("greet", tasks.say, HOURLY)
    redis_server.kill()
    assert asked(job_views.run_plan, "greet", method="post")[0].startswith("Enqueued as the job ")
    assert len(noted()) == 1


def test_of_the_long_dead_nothing_is_counted_or_listed(admin):
    redis_client(Role.STATE).zadd(keys.jobs("default", "dead"), {"forgotten": 1_700_000_000_000})
    assert figures.dead_count("default") == 0
    assert figures.dead("default") == []
    dead(1)
    assert redis_client(Role.STATE).zcard(keys.jobs("default", "dead")) == 1


# --- One job -------------------------------------------------------------------------------------------------------


def test_a_job_that_is_done_shows_its_result_and_nothing_to_do(admin):
    result = tasks.add.enqueue("<b>", "x" * 5000)
    run_jobs()
    text = admin.get(address(result)).content.decode()
    assert "State done" in words(text)
    assert "&lt;b&gt;xx" in text
    assert "x" * 2500 not in text  # cut
    assert "/cancel/" not in text


def test_a_job_whose_task_is_gone_is_shown_retried_and_discarded(admin):
    job = put("tests.job_tasks.removed")
    shown = words(admin.get(reverse("admin:job", args=["default", job.id])).content.decode())
    assert "tests.job_tasks.removed" in shown
    assert "State waits for a worker" in shown
    assert 'Argument 1 "x" key "y"' in shown
    assert "Cancelled" in words(act(admin, job, "cancel").content.decode())


def test_a_job_that_cannot_be_read_can_only_be_discarded(admin):
    job = put("tests.job_tasks.removed")
    redis_client(Role.STATE).hset(keys.job("default", job.id), mapping={"d": b"{half", "s": b"failed"})
    redis_client(Role.STATE).zadd(keys.jobs("default", "dead"), {job.id: timezone.now().timestamp() * 1000})
    text = admin.get(reverse("admin:job", args=["default", job.id])).content.decode()
    assert "What this job is cannot be read" in text
    assert "/retry/" not in text
    assert "it was left as it is" in words(act(admin, job, "retry").content.decode())
    act(admin, job, "discard")
    assert figures.dead_count("default") == 0


def test_a_batch_is_shown_from_its_jobs_and_its_last_one_and_jobs_of_the_outbox_are_found(admin):
    with Batch(then=Call(tasks.sum_up)) as batch:
        batch.add(tasks.say, "one")
    part = batch.results[0]
    assert "State in the outbox" in words(admin.get(address(part)).content.decode())
    jobs_of_it = [carrier.waiting("default", result.id) for result in (batch.last, part)]
    Store("default").add(jobs_of_it)
    text = admin.get(address(part)).content.decode()
    assert f'href="{address(batch.last)}"' in text
    shown = words(admin.get(address(batch.last)).content.decode())
    assert "State waits for its batch" in shown
    assert "1 job, of which 1 has not ended and 0 have failed" in shown


def test_what_is_still_in_the_outbox_is_cancelled(admin):
    with transaction.atomic():
        result = tasks.say.enqueue("x")
    job = carrier.waiting("default", result.id)
    assert (
        reverse("admin:job_act", args=["default", result.id, "cancel"]) in admin.get(address(result)).content.decode()
    )
    assert "Cancelled: " in words(act(admin, result, "cancel").content.decode())
    Store("default").add([job])
    run_jobs()
    assert (state_of(result), tasks.notes()) == ("failed", [])


def test_an_unknown_job_is_told_in_words(admin):
    unknown = reverse("admin:job", args=["default", "0" * 32])
    response = admin.get(unknown)
    assert response.status_code == 404
    assert "There is no job" in words(response.content.decode())
    assert admin.post(f"{unknown}cancel/").status_code == 404
    assert admin.get(reverse("admin:job", args=["typo", "0" * 32])).status_code == 404


def test_a_job_is_found_by_its_id_and_by_that_of_one_that_was_not_enqueued_beside_it(admin):
    first, second = tasks.say_once.enqueue("a"), tasks.say_once.enqueue("a")
    assert first.id == second.id
    found = admin.get(reverse("admin:jobs_find"), {"id": f" {first.id} "})
    assert found["Location"] == address(first)
    assert admin.get(reverse("admin:jobs_find"), {"id": "nothing"}).status_code == 404


# --- Queues and plans ----------------------------------------------------------------------------------------------


@pytest.mark.topology
def test_a_queue_is_paused_after_a_question_and_resumed(admin):
    question = admin.get(reverse("admin:queue_pause", args=["default", "bulk"]))
    assert "Jobs wait, none is lost" in words(question.content.decode())
    assert "Paused: queue bulk." in words(confirm(admin, question).content.decode())
    assert figures.queue_figures(queue("bulk")).paused
    resume = reverse("admin:queue_resume", args=["default", "bulk"])
    assert admin.get(resume).status_code == 405
    assert "Resumed: queue bulk." in words(admin.post(resume, follow=True).content.decode())
    assert not figures.queue_figures(queue("bulk")).paused
    assert "that was so already" in words(admin.post(resume, follow=True).content.decode())
    assert noted() == [("queue bulk", "Paused.", "Root"), ("queue bulk", "Resumed.", "Root")]
    assert "queue bulk Resumed. Root" in jobs(admin)


@pytest.mark.database
def test_a_plan_is_run_now_paused_and_resumed(admin):
    plan("greet/all", tasks.say, HOURLY, args=["hello"])
    PlannedJob.objects.create(name="greet/all", last=timezone.now())
    ran = words(admin.post(reverse("admin:plan_run", args=["greet/all"]), follow=True).content.decode())
    assert 'Argument 1 "hello"' in ran
    (row,) = figures.waiting(queue())
    question = admin.get(reverse("admin:plan_pause", args=["greet/all"]))
    assert "What was planned meanwhile is not made up for." in words(question.content.decode())
    confirm(admin, question)
    assert PlannedJob.objects.get().is_paused
    assert "greet/all tests.job_tasks.say paused every hour not yet" in jobs(admin)
    admin.post(reverse("admin:plan_resume", args=["greet/all"]))
    assert not PlannedJob.objects.get().is_paused
    assert [entry[:2] for entry in noted()] == [
        ("plan greet/all", f"Enqueued as the job {row.id}."),
        ("plan greet/all", "Paused."),
        ("plan greet/all", "Resumed."),
    ]
    assert admin.post(reverse("admin:plan_run", args=["typo"])).status_code == 404


# --- Who may -------------------------------------------------------------------------------------------------------


def operating(result):
    yield from (reverse(f"admin:{name}", args=["default"]) for name in ("jobs_retry_all", "jobs_discard_all"))
    yield from (reverse("admin:job_act", args=["default", result.id, name]) for name in ("cancel", "run", "discard"))
    yield from (reverse(f"admin:queue_{name}", args=["default", "default"]) for name in ("pause", "resume"))
    yield from (reverse(f"admin:plan_{name}", args=["greet"]) for name in ("run", "pause", "resume"))


def test_a_plan_is_not_paused_without_its_entry_in_the_log(asked, monkeypatch):
    plan("greet everybody", tasks.say, HOURLY)
    PlannedJob.objects.create(name="greet everybody", last=timezone.now())

    def refused(*told):
        raise OperationalError("database is locked")

    monkeypatch.setattr(journal, "note", refused)
    with pytest.raises(OperationalError):
        asked(job_views.pause_plan, "greet everybody", method="post")
    assert not PlannedJob.objects.get().is_paused


def test_without_a_permission_one_sees_figures_and_neither_jobs_nor_buttons(staff):
    plan("greet", tasks.say, HOURLY)
    result = tasks.say.enqueue("x")
    browser = staff("operate_events")
    text = browser.get(reverse("admin:jobs")).content.decode()
    assert "Oldest waiting job" in text
    assert 'class="button"' not in text
    assert "/admin/jobs/in/" not in text
    for path in (address(result), reverse("admin:jobs_dead", args=["default"]), reverse("admin:jobs_find")):
        assert browser.get(path).status_code == 403
    for path in operating(result):
        assert browser.post(path).status_code == 403, path
    assert (state_of(result), noted()) == ("ready", [])


def test_with_the_permissions_one_may_look_or_operate(staff):
    result = tasks.say.enqueue("x")
    browser = staff("view_plannedjob")
    text = browser.get(address(result)).content.decode()
    assert "State waits for a worker" in words(text)
    assert "/cancel/" not in text
    assert browser.post(reverse("admin:job_act", args=["default", result.id, "cancel"])).status_code == 403
    user = LogEntry._meta.get_field("user").related_model.objects.get(email="charlie@example.org")
    user.user_permissions.set(Permission.objects.filter(codename="operate_jobs"))
    answer = act(browser, result, "cancel")
    assert (answer.status_code, answer.request["PATH_INFO"]) == (200, reverse("admin:jobs"))
    assert state_of(result) == "cancelled"


def test_actions_without_the_forms_token_are_refused(root):
    plan("greet", tasks.say, HOURLY)
    result = tasks.say.enqueue("x")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(root)
    for path in operating(result):
        assert strict.post(path).status_code == 403, path
    assert state_of(result) == "ready"


# --- What is wrong, in words ---------------------------------------------------------------------------------------


def told():
    return {problem.key: problem.sentence for problem in problems.found()}


@pytest.mark.topology
def test_nothing_is_wrong_with_what_nobody_uses():
    Heartbeat().beat()
    assert told() == {}


@pytest.mark.topology
def test_without_a_worker_only_that_is_told_and_once():
    tasks.noop.enqueue()
    assert list(told()) == ["workers"]
    assert sum(problem.startswith("No worker lives") for problem in first_page.watched()) == 1


@pytest.mark.topology
def test_a_queue_that_no_worker_serves_or_that_does_not_keep_up_is_told(monkeypatch):
    Heartbeat(queues=lambda: ["default"]).beat()
    tasks.noop.using(queue_name="bulk").enqueue()
    tasks.noop.enqueue()
    assert list(told()) == ["queue-idle:default:bulk"]
    monkeypatch.setattr(problems, "SLOW", 0.0)
    assert list(told()) == ["queue-idle:default:bulk", "queue-slow:default:default"]
    operations.pause("default", "bulk")
    operations.pause("default", "default")
    assert told() == {}


def test_a_job_whose_time_has_come_waits_as_well():
    Heartbeat(queues=lambda: ["default"]).beat()
    result = later(tasks.noop.using(queue_name="bulk")).enqueue()
    assert told() == {}
    an_hour_ago = (timezone.now() - timedelta(hours=1)).timestamp() * 1000
    redis_client(Role.STATE).zadd(keys.jobs_of("default", "bulk", "scheduled"), {f"{result.id}:0": an_hour_ago})
    assert list(told()) == ["queue-idle:default:bulk"]
    assert figures.queue_figures(queue("bulk")).oldest >= 3600


def test_a_queue_that_fills_up_is_told(monkeypatch):
    Heartbeat(queues=lambda: ["default", "bulk"]).beat()
    for _ in range(4):
        tasks.noop.enqueue()
    monkeypatch.setattr(problems, "MOST", 5)
    assert "80 % full (4 of 5 jobs" in told()["queue-high:default:default"]
    monkeypatch.setattr(problems, "MOST", 4)
    assert "is full (4 jobs" in told()["queue-full:default:default"]


def test_many_deaths_in_an_hour_are_told(monkeypatch):
    Heartbeat(queues=lambda: ["default", "bulk"]).beat()
    monkeypatch.setattr(problems, "DEATHS", 1)
    dead(1)
    assert told() == {}
    dead(1)
    assert told()["dead:default"].startswith("2 jobs have died in the last hour.")


@pytest.mark.database
def test_a_plan_is_told_that_no_scheduler_has_enqueued():
    Heartbeat(queues=lambda: ["default", "bulk"]).beat()
    plan("greet", tasks.say, HOURLY)
    plan("remind", tasks.say, HOURLY, missed=Missed.SKIP)
    long_ago = timezone.now() - timedelta(hours=5)
    PlannedJob.objects.create(name="greet", last=long_ago)
    PlannedJob.objects.create(name="remind", last=long_ago)
    assert "no worker runs the scheduler" in told()["plan:greet"]
    assert "plan:remind" in told()
    with Lock("scheduler", lease=15, wait=2):
        assert "does not get on" in told()["plan:greet"]
        assert "plan:remind" not in told()
    PlannedJob.objects.update(is_paused=True)
    assert told() == {}
