"""The distributed lock: who has it, who gets it next, and what becomes of a holder that is too late."""

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from intellicolab.redis import keys
from intellicolab.redis.client import Role, aclose, client
from intellicolab.redis.lock import (
    Lock,
    LockLost,
    LockReentered,
    LockTimeout,
    held,
    holders,
)
from intellicolab.redis.lock.grant import _held
from intellicolab.redis.lock.renewal import renewer
from intellicolab.redis.scripts import Script

from .site import ROOT

pytestmark = pytest.mark.topology


@pytest.fixture(autouse=True)
async def closed_pools():
    """Afterwards no test's lock is renewed any more, and its loop's connections are closed."""
    yield
    for grant in [*renewer.grants, *_held.values()]:
        with contextlib.suppress(LockLost):
            grant.release()
    with contextlib.suppress(RuntimeError):
        await aclose()


def state():
    return client(Role.STATE)


def keys_of(name):
    every = (keys.lock, keys.lock_fence, keys.lock_wake, keys.lock_queue)
    return {make(name).rpartition("}")[2]: state().exists(make(name)) for make in every}


def end_lease(name):
    """What a lease's end does, without the wait for it."""
    state().delete(keys.lock(name))


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def waiters(name):
    return state().zcard(keys.lock_queue(name))


def info(section):
    """INFO of the server that holds the lock, which in a cluster is one of several."""
    everywhere = getattr(state(), "get_node_from_key", None)
    place = {"target_nodes": everywhere(keys.lock("reports"))} if everywhere else {}
    return state().info(section, **place)


def blocked():
    """Connections that wait in BLPOP."""
    return info("clients")["blocked_clients"]


# --- One holder --------------------------------------------------------------------------------------------------


def test_one_has_it_and_the_error_of_the_other_names_who_and_for_how_long():
    with Lock("reports", purpose="reports of alice"):
        with pytest.raises(LockTimeout) as error:
            in_other_thread(lambda: Lock("reports", wait=0).acquire())
        assert re.search(rf"reports of alice \(process {os.getpid()} on .+\), for \d+\.\d s", str(error.value))
    with Lock("reports"):
        assert held("reports").holder.pid == os.getpid()


def in_other_thread(work):
    """`work`'s result or error, from a thread of its own."""
    results = []

    def run():
        try:
            results.append((work(), None))
        except BaseException as error:
            results.append((None, error))

    in_thread(run).join(20)
    result, error = results[0]
    if error:
        raise error
    return result


async def test_tasks_exclude_each_other_as_threads_do():
    inside, most = 0, 0

    async def work():
        nonlocal inside, most
        async with Lock("reports"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(20)))
    assert most == 1


def test_threads_exclude_each_other():
    lock, inside, seen = Lock("reports"), [], []

    def work():
        for _ in range(5):
            with lock:
                inside.append(1)
                seen.append(len(inside))
                inside.pop()

    threads = [in_thread(work) for _ in range(8)]
    for thread in threads:
        thread.join(20)
    assert seen == [1] * 40


async def test_a_thread_and_a_task_exclude_each_other():
    async with Lock("reports"):
        with pytest.raises(LockTimeout):
            await asyncio.to_thread(Lock("reports", wait=0).acquire)


def test_an_uncontended_lock_costs_two_calls(monkeypatch):
    calls = []
    plain = Script.__call__

    def counted(self, *args):
        if threading.current_thread() is threading.main_thread():
            calls.append(self.name)
        return plain(self, *args)

    monkeypatch.setattr(Script, "__call__", counted)
    with Lock("reports"):
        pass
    assert calls == ["take", "release"]


def test_a_free_lock_leaves_only_its_fencing_counter():
    with Lock("reports"):
        pass
    assert keys_of("reports") == {"": 0, ":fence": 1, ":wake": 0, ":queue": 0}


@pytest.mark.parametrize(("lease", "wait"), [(0, 1), (4000, 1), (1, -1), (1, float("inf"))])
def test_a_lock_without_bounds_is_refused(lease, wait):
    with pytest.raises(ValueError, match=r"(lock|Lock) 'reports'"):
        Lock("reports", lease=lease, wait=wait)


# --- Re-entrance --------------------------------------------------------------------------------------------------


def test_the_same_thread_is_refused_instead_of_waiting_for_itself():
    with Lock("reports"), pytest.raises(LockReentered, match="this very thread or task"), Lock("reports"):
        pass
    with Lock("reports"):  # and afterwards nothing is left of it
        pass


async def test_the_same_task_is_refused_and_another_task_is_not():
    async with Lock("reports"):
        with pytest.raises(LockReentered):
            await Lock("reports").aacquire()
        with pytest.raises(LockTimeout):
            await asyncio.create_task(Lock("reports", wait=0).aacquire())


def test_different_locks_may_be_held_together():
    with Lock("reports") as one, Lock("letters") as other:
        assert one.fence
        assert other.fence


# --- Waiting -------------------------------------------------------------------------------------------------------


def test_a_waiter_is_woken_and_does_not_ask_meanwhile():
    lock = Lock("reports")
    grant = lock.acquire()
    got = []
    waiter = in_thread(lambda: got.append(lock.acquire()) or got[0].release())
    wait_until(blocked)
    asked = state().zrange(keys.lock_queue("reports"), 0, -1, withscores=True)  # the score changes with each question
    time.sleep(0.3)  # the time in which a polling waiter would have asked
    assert state().zrange(keys.lock_queue("reports"), 0, -1, withscores=True) == asked != []
    grant.release()
    waiter.join(10)
    assert got[0].fence > grant.fence


def test_who_waits_longest_is_next_and_nobody_overtakes_at_the_door():
    lock, order = Lock("reports"), []
    grant = lock.acquire()

    def work(number):
        with lock:
            order.append(number)

    threads = []
    for number in range(5):
        threads.append(in_thread(lambda number=number: work(number)))
        wait_until(lambda number=number: blocked() == number + 1)
    grant.release()
    with lock:  # comes when the lock was just given back, and has to queue
        order.append("late")
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 2, 3, 4, "late"]


def test_a_holder_that_takes_it_again_and_again_starves_nobody():
    lock, stop, rounds = Lock("reports"), threading.Event(), []

    def greedy():
        while not stop.is_set():
            with lock:
                rounds.append(1)

    thread = in_thread(greedy)
    wait_until(lambda: len(rounds) > 5)
    with lock as grant:
        assert grant.fence
    stop.set()
    thread.join(10)


def test_waiting_has_an_end_and_leaves_nothing_behind():
    with Lock("reports"):
        start = time.monotonic()
        with pytest.raises(LockTimeout, match=r"Waited 0\.2 s in vain"):
            in_other_thread(lambda: Lock("reports", wait=0.2).acquire())
        assert 0.2 <= time.monotonic() - start < 5
        assert waiters("reports") == 0


async def test_a_cancelled_waiter_leaves_the_queue_and_passes_on_what_woke_it():
    lock = Lock("reports")
    grant = await lock.aacquire()
    waiter = asyncio.create_task(lock.aacquire())
    while not blocked():
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)  # Python 3.11's wait_for loses a cancellation that meets the end of the send
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    while waiters("reports"):
        await asyncio.sleep(0.005)
    await grant.arelease()
    assert held("reports") is None


async def test_a_waiter_that_is_cancelled_as_it_is_woken_holds_nobody_up():
    lock = Lock("reports")
    for pause in (0, 0.0002, 0.0005, 0.001, 0.002):
        grant = await lock.aacquire()
        first = asyncio.create_task(lock.aacquire())
        while not blocked():
            await asyncio.sleep(0.002)
        second = asyncio.create_task(lock.aacquire())
        while blocked() < 2:
            await asyncio.sleep(0.002)
        await grant.arelease()
        await asyncio.sleep(pause)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await first).arelease()
        await (await asyncio.wait_for(second, 5)).arelease()
        assert held("reports") is None


def test_a_dead_holder_is_noticed_when_its_lease_ends():
    code = "from intellicolab.redis.lock import Lock; Lock('reports', lease=2).acquire(); print('held', flush=True); "
    with child(code + "time.sleep(60)") as process:
        assert process.stdout.readline() == b"held\n"
        process.kill()
        process.wait()
    left = held("reports").left
    start = time.monotonic()
    Lock("reports").acquire().release()
    assert time.monotonic() - start >= left - 0.05


@contextlib.contextmanager
def child(code):
    """A process as `started` makes one; killed at the end, also when it is stopped."""
    with started(code) as process:
        try:
            yield process
        finally:
            process.kill()


def started(code):
    """A process of its own on this worker's servers; its standard input is open."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "intellicolab.settings", "TEST_NAME": database_name()}
    command = [sys.executable, "-c", f"{CHILD}\n{code}"]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


CHILD = """
import os, sys, time, django
django.setup()
from django.db import connection
connection.settings_dict["NAME"] = os.environ["TEST_NAME"]  # the tests' own, not the settings'
"""


def database_name():
    return str(connection.settings_dict["NAME"])


# --- Renewal -------------------------------------------------------------------------------------------------------


def renewed(name):
    """For `wait_until`: whether the lease has begun anew since the last look. The leases here are long ones: a machine
    that stands still for a moment would lose a short one."""
    seen = [0.0]

    def look():
        left = held(name).left
        grew, seen[0] = seen[0] and left > seen[0], left
        return grew

    return look


def test_it_is_renewed_while_it_is_held_and_not_afterwards():
    with Lock("reports", lease=2) as grant:
        for _ in range(2):
            wait_until(renewed("reports"))
        grant.check()
        assert held("reports").fence == grant.fence
        assert [lock.name for lock in holders()] == ["reports"]
    assert held("reports") is None
    assert holders() == []
    time.sleep(0.2)
    assert held("reports") is None


async def test_a_task_renews_as_well():
    async with Lock("reports", lease=2) as grant:
        for _ in range(2):
            await asyncio.to_thread(wait_until, renewed("reports"))
        grant.check()
        assert held("reports").fence == grant.fence
    assert held("reports") is None


def test_a_thread_that_ended_without_giving_it_back_renews_no_more():
    left = in_other_thread(lambda: Lock("reports", lease=0.3).acquire())
    Lock("reports", wait=5).acquire().release()
    assert left.lost


async def test_a_task_that_ended_without_giving_it_back_renews_no_more():
    left = await asyncio.create_task(Lock("reports", lease=0.3).aacquire())
    await (await Lock("reports", wait=5).aacquire()).arelease()
    assert left.lost


async def test_the_holder_may_give_it_back_before_the_block_ends():
    def in_a_thread():
        with Lock("reports") as grant:
            grant.release()
            assert held("reports") is None

    in_other_thread(in_a_thread)
    async with Lock("reports") as grant:
        await grant.arelease()
        assert held("reports") is None


def test_another_thread_may_give_it_back():
    in_other_thread(lambda: Lock("reports").acquire()).release()
    assert held("reports") is None


def test_short_locks_stay_out_of_the_index_and_it_prunes_itself():
    with Lock("short"):
        pass
    assert state().exists(keys.lock_index()) == 0
    with Lock("long", lease=2):
        wait_until(holders)
    assert 0 < state().pttl(keys.lock_index()) <= 2000


def test_what_was_given_back_before_its_first_renewal_is_never_in_the_index():
    with Lock("short") as grant:
        wait_until(lambda: renewer._wakes_at == grant.next_renewal)  # it sleeps until then
    with Lock("long"):
        wait_until(holders)
    assert state().zrange(keys.lock_index(), 0, -1) == [b"long"]


def test_all_that_are_held_are_told_of_the_oldest_first():
    with Lock("reports") as first, Lock("letters") as second:
        second.renew()
        first.renew()
        end_lease("letters")
        assert [lock.name for lock in holders()] == ["reports"]
        with contextlib.suppress(LockLost):
            second.release()
        with Lock("letters") as third:
            third.renew()
            assert [(lock.name, lock.fence) for lock in holders()] == [
                ("reports", first.fence),
                ("letters", third.fence),
            ]


# --- Loss ----------------------------------------------------------------------------------------------------------


def test_a_holder_whose_lease_went_is_told_at_check_and_at_release():
    grant = Lock("reports", lease=0.3).acquire()
    end_lease("reports")
    wait_until(lambda: grant.lost)
    with pytest.raises(LockLost, match="Another may hold it now"):
        grant.check()
    grant = Lock("reports").acquire()
    end_lease("reports")
    assert not grant.lost  # it cannot know yet
    Lock("letters").acquire().release()
    with pytest.raises(LockLost):
        grant.release()


def fail_without_the_lock():
    with Lock("reports"):
        end_lease("reports")
        raise ZeroDivisionError


def test_the_loss_does_not_hide_what_ended_the_work():
    with pytest.raises(ZeroDivisionError):
        fail_without_the_lock()
    with pytest.raises(LockLost), Lock("reports"):
        end_lease("reports")


def test_a_release_of_a_lost_lock_leaves_the_new_holder_alone():
    late = Lock("reports").acquire()
    end_lease("reports")
    new = in_other_thread(lambda: Lock("reports").acquire())
    with pytest.raises(LockLost):
        late.release()
    assert held("reports").fence == new.fence


def test_a_paused_holder_knows_it_by_its_own_clock_as_soon_as_it_wakes():
    grant = Lock("reports", lease=1).acquire()
    renewer.remove(grant)  # the whole process stands still
    grant.check()
    wait_until(lambda: grant.lost)
    with pytest.raises(LockLost):
        grant.check()


# --- Fencing -------------------------------------------------------------------------------------------------------


def numbers(count):
    for _ in range(count):
        with Lock("reports") as grant:
            yield grant.fence


def test_the_number_rises_even_when_redis_forgot_it():
    first, second = numbers(2)
    state().flushall()
    [third] = numbers(1)
    assert first < second < third


def test_the_number_rises_even_when_the_clock_was_set_back():
    ahead = int((time.time() + 3600) * 1e6)
    state().set(keys.lock_fence("reports"), ahead)
    assert list(numbers(3)) == [ahead + 1, ahead + 2, ahead + 3]


# --- Against a model -----------------------------------------------------------------------------------------------


class LockMachine(RuleBasedStateMachine):
    """Random takes, releases, ended leases, crashes, lost counters and clocks set back, against what must hold."""

    def __init__(self):
        super().__init__()
        self.name = f"model-{uuid.uuid4().hex}"
        self.lock = Lock(self.name, wait=0)
        self.holder = None  # the grant that Redis must know
        self.late = []  # grants that lost it and don't know
        self.highest = 0

    def take(self):
        """In a thread a time, so that it is never re-entrance; renewed by a rule and not by the clock."""

        def unrenewed():
            grant = self.lock.acquire()
            renewer.remove(grant)
            return grant

        return in_other_thread(unrenewed)

    @rule()
    def acquire(self):
        if self.holder is not None:
            with pytest.raises(LockTimeout):
                self.take()
            return
        self.holder = self.take()
        assert self.holder.fence > self.highest
        self.highest = self.holder.fence

    @precondition(lambda self: self.holder)
    @rule()
    def release(self):
        self.holder.release()
        self.holder = None

    @precondition(lambda self: self.holder)
    @rule()
    def renew(self):
        self.holder.renew()
        assert not self.holder.lost

    @precondition(lambda self: self.holder)
    @rule()
    def lease_ends(self):
        end_lease(self.name)
        self.late.append(self.holder)
        self.holder = None

    @precondition(lambda self: self.holder)
    @rule()
    def crash(self):
        """Nobody is left to release; the lease has to end."""
        state().pexpire(keys.lock(self.name), 1)
        wait_until(lambda: held(self.name) is None)
        self.holder = None

    @rule(all_of_it=st.booleans())
    def failover(self, all_of_it):
        """The new primary lacks the lock, or the counter as well."""
        state().delete(keys.lock(self.name), *([keys.lock_fence(self.name)] if all_of_it else []))
        if self.holder is not None:
            self.late.append(self.holder)
            self.holder = None

    @rule()
    def clock_goes_back(self):
        """As seen by the counter: it is ahead of the clock."""
        self.highest = max(self.highest, int(time.time() * 1e6) + 50_000)
        state().set(keys.lock_fence(self.name), self.highest)

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def late_one_wakes(self, data):
        grant = self.late.pop(data.draw(st.integers(0, len(self.late) - 1)))
        if data.draw(st.booleans()):
            grant.renew()
            assert grant.lost
        with pytest.raises(LockLost):
            grant.release()

    @invariant()
    def redis_knows_the_holder_and_no_other(self):
        found = held(self.name)
        assert (found and found.fence) == (self.holder and self.holder.fence)

    def teardown(self):
        for grant in [*self.late, self.holder]:
            if grant is not None:
                with contextlib.suppress(LockLost):
                    grant.release()


# The counter that a failover lost is made up for by the clock: a counter ahead of it would not be.
class LockWithGoodClocks(LockMachine):
    clock_goes_back = None


class LockWithGoodFailovers(LockMachine):
    failover = None


QUICK = settings(max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TestLockWithFailovers = LockWithGoodClocks.TestCase
TestLockWithClocks = LockWithGoodFailovers.TestCase
TestLockWithFailovers.settings = TestLockWithClocks.settings = QUICK


# --- Many processes ------------------------------------------------------------------------------------------------

WORK = """
import json, sys, time
from intellicolab.redis.lock import Lock
lock, spans = Lock('shared', wait=60), []
for _ in range(100):
    with lock as grant:
        begun = time.monotonic_ns()
        time.sleep(0.0005)
        spans.append((grant.fence, begun, time.monotonic_ns()))
print(json.dumps(spans))
"""


@pytest.mark.slow
def test_processes_exclude_each_other_and_their_numbers_rise_with_time():
    processes = [started(WORK) for _ in range(4)]
    spans = []
    for process in processes:
        spans += json.loads(process.communicate(timeout=90)[0])
    spans.sort()
    assert len(spans) == 400
    for (_, _, ended), (_, begun, _) in itertools.pairwise(spans):
        assert ended <= begun


@pytest.mark.slow
def test_a_killed_holder_among_contenders_costs_its_lease_and_nothing_else():
    code = WORK.replace("100", "40").replace("wait=60", "lease=1, wait=60")
    processes = [started(code) for _ in range(4)]
    wait_until(lambda: held("shared"), 30)
    os.kill(processes[0].pid, signal.SIGKILL)
    processes[0].communicate()
    for process in processes[1:]:
        assert len(json.loads(process.communicate(timeout=60)[0])) == 40
