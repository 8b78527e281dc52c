"""The worker's options: which groups it runs, starting anew when the code changes, and that it says that it lives."""

import os
import signal
import subprocess
import sys

import pytest
from django.core.management import CommandError, call_command

from intellicolab.events.groups import Group, declare
from intellicolab.management.commands.worker import chosen_groups, chosen_queues, job_worker
from intellicolab.redis.heartbeat import workers

from . import job_tasks
from .behind import wait_until
from .job_workers import finished
from .site import ROOT
from .test_groups import no_groups
from .test_lock import started

__all__ = ["no_groups"]  # a fixture

GROUPED = """
from django.core.management import call_command
from intellicolab.events.groups import on
from realtime.events import MessageCreated
for name in ("one", "two"):
    on(MessageCreated, group=name)(print)
call_command("worker", groups="two", skip_checks=True)
"""


def ended(process):
    """What it has said after it was told to stop."""
    process.send_signal(signal.SIGTERM)
    return process.communicate(timeout=30)


def test_it_runs_all_groups_or_those_that_are_named():
    one, two = declare(Group("one")), declare(Group("two"))
    assert chosen_groups(None) == [one, two]
    assert chosen_groups("two, one") == [one, two]
    assert chosen_groups("two") == [two]
    assert chosen_groups("none") == []


def test_a_group_that_there_is_not_is_told_with_those_that_there_are():
    declare(Group("one"))
    with pytest.raises(CommandError, match=r"no group typo\. The groups: one\. \(`--groups none` runs none\.\)"):
        call_command("worker", groups="typo,one")


@pytest.mark.django_db(transaction=True)
def test_a_worker_says_what_it_runs_while_it_lives():
    with started(GROUPED) as process:
        assert process.stdout.readline() == b"The worker runs.\n"
        wait_until(workers)
        [worker] = workers()
        assert (worker.pid, worker.runs["groups"]) == (process.pid, ["two"])
        ended(process)
    assert process.returncode == 0
    assert workers() == []


def reloaded(folder):
    """A worker whose settings lie in a file of the test's."""
    paths = os.pathsep.join([str(folder), str(ROOT)])
    env = {**os.environ, "PYTHONPATH": paths, "DJANGO_SETTINGS_MODULE": "own_settings", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "manage.py", "worker", "--groups", "none", "--reload", "--skip-checks"]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def living():
    return [worker.pid for worker in workers()]


@pytest.mark.slow
def test_a_worker_starts_anew_when_the_code_changes_and_survives_a_mistake_in_it(tmp_path):
    settings, sound = tmp_path / "own_settings.py", "from intellicolab.settings import *\n"
    settings.write_text(sound)
    with reloaded(tmp_path) as process:
        wait_until(living)
        [first] = living()
        settings.write_text(sound + "X = 1\n")
        wait_until(lambda: living() not in ([], [first]))
        [second] = living()  # the first has taken itself from the list
        settings.write_text(sound + "(\n")
        wait_until(lambda: living() == [])
        settings.write_text(sound)
        wait_until(living)
        assert living() not in ([first], [second])
        ended(process)
    assert process.returncode == 0
    assert living() == []


# --- Jobs ------------------------------------------------------------------------------------------------------------


def test_it_runs_all_queues_or_those_that_are_named():
    assert [queue.name for queue in chosen_queues(None)] == ["bulk", "default"]
    assert [queue.name for queue in chosen_queues("bulk")] == ["bulk"]
    assert chosen_queues("none") == []
    with pytest.raises(CommandError, match=r"no queue typo; there are bulk, default\. \(`--queues none` runs none\.\)"):
        call_command("worker", queues="typo,bulk")


@pytest.mark.parametrize("number", ["0", "-1", "two"])
def test_numbers_that_cannot_be_are_refused(number):
    with pytest.raises(CommandError, match="no number from 1 on"):
        call_command("worker", "--processes", number)


def test_further_processes_run_jobs_alone(monkeypatch):
    given = ["manage.py", "worker", "--processes", "3", "--queues=bulk", "--reload"]
    monkeypatch.setattr(sys, "argv", given)
    assert job_worker() == [sys.executable, "manage.py", "worker", "--queues=bulk", "--reload", "--only-jobs"]


@pytest.mark.django_db(transaction=True)
def test_two_processes_run_jobs_of_the_queues_that_are_named():
    here = [job_tasks.say_who.using(queue_name="bulk").enqueue() for _ in range(40)]
    elsewhere = job_tasks.noop.enqueue()
    command = [sys.executable, "manage.py", "worker", "--groups=none", "--queues=bulk", "--processes", "2"]
    with subprocess.Popen([*command, "--skip-checks"], cwd=ROOT, env=environment(), stdout=subprocess.PIPE) as process:
        wait_until(lambda: len(workers()) == 2)
        wait_until(lambda: len(job_tasks.notes()) >= 40)
        more = [job_tasks.say_who.using(queue_name="bulk").enqueue() for _ in range(200)]
        for result in [*here, *more]:
            finished(result)
        assert len(set(job_tasks.notes())) == 2
        assert {worker.runs["queues"][0] for worker in workers()} == {"bulk"}
        ended(process)
    assert process.returncode == 0
    elsewhere.refresh()
    assert not elsewhere.is_finished


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}
