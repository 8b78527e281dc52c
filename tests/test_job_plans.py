"""Plans: each planned run is enqueued once, whoever dies, whatever the clock does."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from intellicolab.events.models import OutboxRow
from intellicolab.jobs import plans, scheduler
from intellicolab.jobs.models import PlannedJob
from intellicolab.jobs.plans import plan
from intellicolab.jobs.scheduler import Scheduler, run_now, set_paused
from intellicolab.jobs.schedules import Cron, Every, Missed
from intellicolab.redis.fence import StaleFence
from intellicolab.redis.lock import Lock

from . import job_tasks as tasks
from .test_events import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
MINUTELY = Every(60, anchor=NOON)


@pytest.fixture(autouse=True)
def no_plans(monkeypatch):
    monkeypatch.setattr(plans, "_plans", {})


@pytest.fixture
def at(monkeypatch):
    """Have the scheduler look at a moment; how many jobs it has enqueued so far."""

    def look(moment):
        monkeypatch.setattr(timezone, "now", lambda: moment)
        with Lock("scheduler", lease=15, wait=2) as grant:
            Scheduler().round(grant)
        monkeypatch.undo()
        monkeypatch.setattr(plans, "_plans", known)
        return OutboxRow.objects.filter(stream="jobs.default").count()

    known = plans._plans
    return look


def test_a_new_plan_begins_with_its_next_run(at):
    plan("each minute", tasks.say, MINUTELY, args=["x"])
    assert at(NOON + timedelta(seconds=30)) == 0
    assert at(NOON + timedelta(seconds=59)) == 0
    assert at(NOON + timedelta(seconds=60)) == 1
    assert at(NOON + timedelta(seconds=61)) == 1
    assert '"tests.job_tasks.say"' in OutboxRow.objects.get().data


@pytest.mark.parametrize(("missed", "runs"), [(Missed.SKIP, 1), (Missed.ONCE, 2), (Missed.ALL, 60)])
def test_what_no_worker_was_there_for_is_made_up_for_as_the_plan_says(at, missed, runs):
    plan("each minute", tasks.say, MINUTELY, missed=missed)
    at(NOON)
    assert at(NOON + timedelta(hours=1, seconds=30)) == runs
    assert at(NOON + timedelta(hours=1, seconds=31)) == runs


def test_a_clock_that_is_set_back_repeats_no_run(at):
    plan("each minute", tasks.say, MINUTELY)
    at(NOON)
    assert at(NOON + timedelta(minutes=1)) == 1
    assert at(NOON - timedelta(hours=1)) == 1
    assert at(NOON) == 1
    assert at(NOON + timedelta(minutes=2)) == 2


def test_in_the_hour_that_is_skipped_and_in_the_one_that_comes_twice_a_daily_job_runs_once(at):
    berlin = Cron("30 2 * * *", "Europe/Berlin")
    plan("nightly", tasks.say, berlin)
    spring, autumn = datetime(2027, 3, 28, tzinfo=UTC), datetime(2027, 10, 31, tzinfo=UTC)
    at(spring)
    assert at(spring + timedelta(hours=1)) == 1  # 02:00 there is 03:00 at once
    assert at(spring + timedelta(hours=20)) == 1
    PlannedJob.objects.update(last=autumn - timedelta(hours=1))
    assert at(autumn + timedelta(minutes=30)) == 2
    assert at(autumn + timedelta(hours=1, minutes=30)) == 2


def test_a_paused_plan_lets_its_runs_pass(at):
    plan("each minute", tasks.say, MINUTELY, missed=Missed.ALL)
    at(NOON)
    assert set_paused("each minute", True)
    assert not set_paused("each minute", True)
    assert at(NOON + timedelta(minutes=5)) == 0
    assert set_paused("each minute", False)
    assert at(NOON + timedelta(minutes=5, seconds=30)) == 0
    assert at(NOON + timedelta(minutes=6)) == 1


def test_a_plan_can_be_run_now():
    made = plan("each minute", tasks.add, MINUTELY, args=[1, 2])
    assert tasks.add.get_result(run_now(made)).args == [1, 2]


def test_a_scheduler_whose_lock_has_gone_enqueues_nothing(at):
    plan("each minute", tasks.say, MINUTELY)
    at(NOON)
    with Lock("scheduler", lease=15, wait=2) as stale:
        pass
    at(NOON + timedelta(seconds=1))
    at(NOON + timedelta(minutes=1))  # another one has written since
    planned = PlannedJob.objects.get()
    with pytest.raises(StaleFence):
        Scheduler()._enqueue(plans.plans()[0], planned, [NOON + timedelta(minutes=2)], stale)
    assert OutboxRow.objects.count() == 1
    assert PlannedJob.objects.get().last == planned.last


class Broken:
    def after(self, moment):
        raise OverflowError("no such year")


def test_a_plan_that_cannot_be_enqueued_keeps_no_other_one_from_its_run(at, caplog):
    """Neither for what its schedule raises nor for what its arguments do; a new one after it begins, too."""
    plan("a broken schedule", tasks.say, Broken())
    plan("broken arguments", tasks.say, MINUTELY, args=[object()])
    plan("each minute", tasks.say, MINUTELY, args=["x"])
    at(NOON)
    plan("later", tasks.say, MINUTELY, args=["y"])
    PlannedJob.objects.all().update(last=NOON)
    caplog.clear()
    assert at(NOON + timedelta(minutes=1)) == 1
    assert [record.args for record in caplog.records if record.levelname == "ERROR"] == [
        ("a broken schedule",),
        ("broken arguments",),
    ]
    assert '"x"' in OutboxRow.objects.get(stream="jobs.default").data
    assert set(PlannedJob.objects.values_list("name", flat=True)) == {plan.name for plan in plans.plans()}


def test_a_broken_plan_is_told_once_until_it_works_again(monkeypatch, caplog):
    made = plan("broken", tasks.say, Broken())
    PlannedJob.objects.create(name=made.name, last=NOON)
    service = Scheduler()
    with Lock("scheduler", lease=15, wait=2) as grant:
        service.round(grant)
        service.round(grant)
        assert caplog.text.count("The plan 'broken' cannot be enqueued") == 1
        with monkeypatch.context() as patch:
            patch.setattr(Broken, "after", lambda schedule, moment: moment + timedelta(days=365 * 1000))
            service.round(grant)
        service.round(grant)
    assert caplog.text.count("The plan 'broken' cannot be enqueued") == 2


def test_two_plans_do_not_share_a_name():
    plan("one", tasks.say, MINUTELY)
    with pytest.raises(ValueError, match="already"):
        plan("one", tasks.say, MINUTELY)


def test_a_text_is_a_cron_expression_in_the_zone_of_the_installation(settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    made = plan("early", tasks.say, "0 6 * * *")
    assert made.next_after(NOON) == datetime(2027, 3, 1, 21, tzinfo=UTC)


def test_a_scheduler_of_a_worker_enqueues_by_itself():
    plan("each second", tasks.say, Every(1, anchor=NOON - timedelta(days=1000)))
    PlannedJob.objects.create(name="each second", last=timezone.now() - timedelta(seconds=2))
    running = Scheduler()
    running.interval = 0.05
    running.start()
    try:
        wait_until(lambda: OutboxRow.objects.filter(stream="jobs.default").count() >= 2)
    finally:
        running.stop()
    assert scheduler.lock.name == "scheduler"
