"""The worker and its one flusher: in a process of its own, killed, doubled, drained."""

import contextlib
import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import psutil
import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from intellicolab.cache.behind import Flusher, drain, states
from intellicolab.cache.behind import flusher as module
from intellicolab.cache.models import Fence, FlushedBatch
from intellicolab.redis.client import Role, client
from intellicolab.redis.lock import held
from intellicolab.redis.lock.renewal import renewer

from . import behind
from .behind import KEYS, Thing, closing, table, things, values, wait_until
from .site import ROOT, Site
from .test_lock import child, end_lease

__all__ = ["table", "things"]  # fixtures
pytestmark = [pytest.mark.database, pytest.mark.usefixtures("things")]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(Flusher, "interval", 0.02)


@pytest.fixture
def start():
    """Call for a flusher that runs in a thread until the test ends."""
    running = []

    def make():
        running.append(Flusher())
        running[-1].start()
        return running[-1]

    yield make
    for flusher in running:
        flusher.stop()
    wait_until(lambda: all(grant.over for grant in renewer.grants))  # also one that an outage left to be withdrawn


# --- One flusher ---------------------------------------------------------------------------------------------------


def test_it_writes_what_waits_and_on_stopping_the_rest(start):
    latest, sums = behind.latest(), behind.sums()
    latest.set(1, 7)
    flusher = start()
    wait_until(lambda: values("value")[1] == 7)
    sums.add(1, 5)
    latest.set(2, 8)
    flusher.stop()
    assert values("value") == {1: 7, 2: 8, 3: 0, 4: 0}
    assert values("total")[1] == 5
    assert held(module.NAME) is None
    assert [(state.namespace, state.entries) for state in states() if state.namespace in ("things", "visits")] == [
        ("things", 0),
        ("visits", 0),
    ]


def test_of_two_one_works_and_the_other_takes_over(start):
    buffer = behind.latest()
    first = start()
    wait_until(lambda: held(module.NAME))
    second = start()
    fence = held(module.NAME).fence
    first.stop()
    wait_until(lambda: (now := held(module.NAME)) and now.fence > fence)
    buffer.set(1, 7)
    wait_until(lambda: values("value")[1] == 7)
    second.stop()


def test_one_that_lost_its_lock_stops_writing_and_another_takes_over(start, caplog):
    buffer = behind.latest()
    first = start()
    buffer.set(1, 7)
    wait_until(lambda: values("value")[1] == 7)
    fence = Fence.objects.get(pk=module.NAME).fence
    end_lease(module.NAME)
    start()
    wait_until(lambda: (now := held(module.NAME)) and now.fence > fence)

    def both_have_met():
        """The new one has written, and the first has tried to."""
        buffer.set(1, 8)
        return Fence.objects.get(pk=module.NAME).fence > fence and "is older than what was written last" in caplog.text

    wait_until(both_have_met)
    first.stop()
    buffer.set(1, 9)
    wait_until(lambda: values("value")[1] == 9)


def test_it_outlives_an_outage_of_the_database_and_says_so_once(start, caplog):
    def write(entries):
        if away:
            tries.append(1)
            raise OperationalError("the database is away")
        behind.write_latest(entries)

    away, tries = [True], []
    buffer = behind.latest(write=write)
    buffer.set(1, 7)
    with caplog.at_level(logging.INFO, "intellicolab.redis"):
        start()
        wait_until(lambda: len(tries) >= 2)
        away.clear()
        wait_until(lambda: values("value")[1] == 7)
        wait_until(lambda: "works again" in caplog.text)
    assert caplog.text.count("the flusher cannot work") == 1


def test_a_buffer_that_fails_does_not_keep_the_others(start):
    def write(entries):
        raise OperationalError

    broken, whole = behind.latest("broken", write=write), behind.latest()
    broken.set(1, 7)
    whole.set(1, 8)
    start()
    wait_until(lambda: values("value")[1] == 8)


def test_a_buffer_that_never_empties_keeps_neither_the_others_nor_the_end(start, monkeypatch):
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.2)

    def write(entries):
        busy.set(1, next(numbers))  # faster than it can be flushed
        behind.write_latest(entries)

    numbers = itertools.count()
    busy, quiet = behind.latest("busy", write=write, batch=1), behind.latest()
    busy.set(1, next(numbers))
    quiet.set(2, 8)
    flusher = start()
    wait_until(lambda: values("value")[2] == 8)
    flusher.stop()
    assert held(module.NAME) is None
    assert busy.entries()[0] == 1


def test_it_outlives_an_outage_of_redis(start, redis_server, caplog):
    buffer = behind.latest()
    start()
    wait_until(lambda: held(module.NAME))
    redis_server.kill()
    wait_until(lambda: "the flusher cannot work" in caplog.text)
    redis_server.start()
    buffer.set(1, 7)
    wait_until(lambda: values("value")[1] == 7)
    wait_until(lambda: buffer.state().flushed == 1)  # and it was not the writer itself that wrote


def test_ids_of_batches_are_kept_while_any_may_wait_for_its_removal(monkeypatch):
    def flushed(keys):
        raise LookupError

    old = FlushedBatch.objects.create(pk="old", applied_at=timezone.now() - timedelta(days=8))
    broken = behind.sums(flushed=flushed)
    broken.add(1)
    grant = module.lock.acquire()
    with pytest.raises(RuntimeError, match="LookupError"):
        Flusher().round(grant)
    assert FlushedBatch.objects.filter(pk=old.pk).exists()
    monkeypatch.setattr(broken, "_flushed", None)
    Flusher().round(grant)
    assert not FlushedBatch.objects.filter(pk=old.pk).exists()
    grant.release()


# --- Drain ---------------------------------------------------------------------------------------------------------


def test_drain_writes_everything_without_a_worker():
    latest, sums = behind.latest(batch=2), behind.sums(batch=2)
    for key in KEYS:
        latest.set(key, key)
        sums.add(key, key)
    assert drain(20) == []
    assert values("value") == values("total") == {key: key for key in KEYS}
    call_command("drain", verbosity=0)


def test_drain_waits_for_the_worker_that_holds_the_lock(start):
    buffer = behind.latest()
    start()
    wait_until(lambda: held(module.NAME))
    buffer.set(1, 7)
    assert drain(20) == []
    assert values("value")[1] == 7


def test_drain_says_what_it_could_not_write():
    buffer = behind.latest()
    buffer.set(1, 7)
    buffer.set(2, -1)
    with pytest.raises(CommandError, match="things: 2 = -1 was refused: IntegrityError") as error:
        call_command("drain")
    assert error.value.returncode == 1
    assert values("value")[1] == 7


def test_drain_drops_what_was_refused_when_told_to(capsys):
    buffer = behind.latest()
    buffer.set(2, -1)
    with pytest.raises(CommandError):
        call_command("drain")
    assert buffer.state().dead == 1
    call_command("drain", drop_refused=True)
    assert "Dropped. things: 2 = -1 was refused" in capsys.readouterr().out
    assert buffer.state().dead == 0
    call_command("drain")


def test_drain_goes_on_when_its_lock_goes_to_another():
    def write(entries):
        if not tries:
            end_lease(module.NAME)
        tries.append(1)
        behind.write_latest(entries)

    tries = []
    behind.latest(write=write).set(1, 7)
    behind.latest("others").set(2, 7)
    assert drain(20) == []
    assert values("value") == {1: 7, 2: 7, 3: 0, 4: 0}


def test_drain_says_why_when_the_database_takes_nothing():
    def write(entries):
        raise OperationalError("it is read-only")

    behind.latest(write=write).set(1, 7)
    assert drain(0.5) == ["things: 1 entries still wait: it is read-only"]


def test_drain_without_redis_is_one_line(redis_server):
    behind.latest()
    redis_server.kill()
    with pytest.raises(CommandError, match="Redis gives no answer"):
        call_command("drain")


# --- Killed --------------------------------------------------------------------------------------------------------

KILLED = """
from intellicolab.cache.behind import Flusher, flusher
from tests import behind
Flusher.interval = 0
flusher.lock.lease = 0.5
latest, sums = behind.latest(batch=2), behind.sums(batch=2)
worker = Flusher()
worker.start()
print("runs", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_flushers_that_are_killed_again_and_again_lose_and_double_nothing():
    latest, sums = behind.latest(), behind.sums()
    expected, stop = {"value": dict.fromkeys(KEYS, 0), "total": dict.fromkeys(KEYS, 0)}, threading.Event()
    problems = []

    def write():
        for number in range(1, 1_000_000):
            if stop.is_set():
                return
            key = KEYS[number % len(KEYS)]
            latest.set(key, number)
            sums.add(key, 3)
            expected["value"][key] = number
            expected["total"][key] += 3
            if number % 50 == 0 and sums.get_many(KEYS) != expected["total"]:
                problems.append((number, sums.get_many(KEYS)))

    writer = threading.Thread(target=closing(write))
    writer.start()
    for round_ in range(6):
        with child(KILLED) as process:
            process.stdout.readline()
            before = sums.state().flushed
            wait_until(lambda before=before: sums.state().flushed > before)
            time.sleep(0.005 * round_)  # another place in its work each time
            process.kill()
    stop.set()
    writer.join(30)
    assert drain(30) == []
    assert problems == []
    assert values("value") == expected["value"]
    assert values("total") == expected["total"]


@pytest.mark.slow
def test_a_flusher_that_is_paused_for_longer_than_its_lease_is_replaced_and_does_no_harm():
    latest, sums = behind.latest(), behind.sums()
    with child(KILLED) as first:
        first.stdout.readline()
        latest.set(1, 1)
        sums.add(1, 1)
        wait_until(lambda: values("total")[1] == 1)
        # With nothing to write, and its first round behind it, it is in no transaction: paused in one, it would keep
        # the others from the database.
        latest.set(1, 1)
        wait_until(lambda: latest.entries()[0] == sums.entries()[0] == 0)
        os.kill(first.pid, signal.SIGSTOP)
        os.waitpid(first.pid, os.WUNTRACED)  # its flusher goes on until the main thread has had its turn
        latest.set(1, 2)
        sums.add(1, 2)
        with child(KILLED) as second:
            wait_until(lambda: values("total")[1] == 3)
            latest.set(1, 3)
            sums.add(1, 4)
            os.kill(first.pid, signal.SIGCONT)
            wait_until(lambda: values("total")[1] == 7 and values("value")[1] == 3)
            second.kill()
        first.kill()
    assert drain(20) == []
    assert (values("value")[1], values("total")[1]) == (3, 7)
    assert Thing.objects.get(pk=1).total == sums.get_many([1])[1]


# --- The command ---------------------------------------------------------------------------------------------------


def test_the_command_ends_cleanly_when_it_is_told_to():
    command = [sys.executable, "manage.py", "worker", "--skip-checks"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"The worker runs.\n"
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def worker_of(site):
    """None while it is between two lives."""
    for process in site.children():
        with contextlib.suppress(psutil.Error):
            if "worker" in process.cmdline():
                return process
    return None


@pytest.mark.slow
def test_serve_keeps_a_worker_beside_the_web_process():
    site = Site()
    try:
        site.start()
        wait_until(lambda: worker_of(site))
        worker = worker_of(site)
        assert site.web_pid() != worker.pid
        worker.kill()
        wait_until(lambda: (found := worker_of(site)) and found.pid != worker.pid)
        assert site.is_up()
        assert site.manage("drain").returncode == 0
        children = site.children()
        assert site.stop() == 0
        assert not [process for process in children if process.is_running()]
        assert "Traceback" not in site.output
    finally:
        site.remove()


def test_no_worker_key_is_left_without_an_end_or_a_reason():
    behind.latest().set(1, 7)
    state = client(Role.STATE)
    endless = {key.decode() for key in state.scan_iter("ic:*behind*") if state.ttl(key) == -1}
    assert endless == {f"ic:{{behind:things}}:{part}" for part in ("values", "due", "clock")}
