"""Write-behind against a model: random writes, flushes, crashes at each step, paused flushers and outages."""

import itertools
import uuid

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from intellicolab.cache.behind.sums import _add, _Adding, _take
from intellicolab.cache.models import Fence, FlushedBatch
from intellicolab.redis.client import Role, client

from . import behind
from .behind import KEYS, Thing, nothing, table, things, values

__all__ = ["table", "things"]  # fixtures
pytestmark = [pytest.mark.database, pytest.mark.topology, pytest.mark.usefixtures("things")]

QUICK = settings(max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
THOROUGH = settings(QUICK, max_examples=150, stateful_step_count=50)

STEPS = ("guard", "write", "commit", "hook", "removal")
SOME_KEY = st.sampled_from(KEYS)


class Crash(BaseException):
    """The flusher's end: nothing that handles errors catches it."""


class Machine(RuleBasedStateMachine):
    """What both kinds share: a flusher that ends at a chosen step, and Redis that is away for a moment."""

    late = Bundle("late")
    field = ""

    def __init__(self):
        super().__init__()
        Thing.objects.update(value=0, stamp=0, total=0)
        FlushedBatch.objects.all().delete()
        Fence.objects.all().delete()
        self.namespace = f"model-{uuid.uuid4().hex[:12]}"
        self.crash_at = None
        self.buffer = self.declare()
        remove = self.buffer._remove
        self.buffer._remove = lambda what: (self.step("removal"), remove(what))

    def step(self, name):
        if self.crash_at == name:
            self.crash_at = None
            raise Crash

    def guard(self):
        self.step("guard")
        Fence.advance("model", 5)

    def hook(self, keys):
        self.step("hook")

    @rule()
    def flush(self):
        self.buffer.flush(self.guard, force=True)

    @rule(step=st.sampled_from(STEPS))
    def flusher_crashes(self, step):
        self.crash_at = step
        try:
            self.buffer.flush(self.guard, force=True)
        except Crash:
            return
        finally:
            self.crash_at = None

    def away(self):
        self.buffer.breaker.failed(ConnectionError())

    def back(self):
        self.buffer.breaker.succeeded()

    def teardown(self):
        for _ in range(3):  # a batch that is split is written by the flushes after that
            self.buffer.flush(nothing, force=True)
        assert values(self.field) == self.expected
        assert self.buffer.state().entries == 0
        parts = ("values", "due", "tries", "open", "open-id", "sealed", "batches", "amounts")
        assert [part for part in parts if client(Role.STATE).exists(self.buffer.part(part))] == []
        behind.forget()


class LatestMachine(Machine):
    """Readers see the last write; rows only ever go on to newer writes; in the end the last one is there."""

    field = "value"
    merge = "last"

    def declare(self):
        self.numbers = itertools.count(1)
        self.expected = dict.fromkeys(KEYS, 0)
        self.newest = dict.fromkeys(KEYS, 0)
        return behind.latest(self.namespace, write=self.write, flushed=self.hook, batch=2, limit=3, merge=self.merge)

    def write(self, entries):
        self.step("write")
        behind.write_latest(entries)
        self.step("commit")

    @rule(key=SOME_KEY)
    def set(self, key):
        self.change(key, next(self.numbers))

    def change(self, key, value):
        self.expected[key] = value
        self.buffer.set(key, value)

    @rule(key=SOME_KEY)
    def set_without_redis(self, key):
        self.away()
        self.set(key)
        self.back()

    @rule(target=Machine.late)
    def a_flusher_is_paused(self):
        return self.buffer._take(force=True)

    @rule(taken=Machine.late)
    def it_wakes(self, taken):
        """Even without the fence: the stamp alone keeps it from doing harm."""
        if taken:
            self.buffer._settle(taken, nothing)

    @invariant()
    def readers_see_the_last_write(self):
        waiting = self.buffer.get_many(KEYS)
        assert {**values("value"), **waiting} == self.expected

    @invariant()
    def rows_never_go_back(self):
        found = values("value")
        assert all(found[key] >= self.newest[key] for key in KEYS)
        self.newest = found


class GreatestMachine(LatestMachine):
    """The same, with positions that never go back."""

    merge = "max"

    def write(self, entries):
        self.step("write")
        behind.write_greatest(entries)
        self.step("commit")

    @rule(key=SOME_KEY, value=st.integers(0, 20))
    def set_any(self, key, value):
        self.change(key, value)

    def change(self, key, value):
        self.expected[key] = max(self.expected[key], value)
        self.buffer.set(key, value)

    @invariant()
    def readers_see_the_last_write(self):
        waiting = self.buffer.get_many(KEYS)
        seen = {key: max(value, waiting.get(key, 0)) for key, value in values("value").items()}
        assert seen == self.expected


class SumMachine(Machine):
    """Readers see the exact total after each step, whatever crashed in between."""

    field = "total"

    def declare(self):
        self.expected = dict.fromkeys(KEYS, 0)
        return behind.sums(self.namespace, write=self.write, flushed=self.hook, batch=2, limit=6)

    def write(self, amounts):
        self.step("write")
        behind.write_sums(amounts)
        self.step("commit")

    @rule(key=SOME_KEY, amount=st.integers(1, 5))
    def add(self, key, amount):
        self.expected[key] += amount
        self.buffer.add(key, amount)

    @rule(key=SOME_KEY)
    def add_without_redis(self, key):
        self.away()
        self.add(key, 7)
        self.back()

    @rule(key=SOME_KEY)
    def add_and_lose_the_answer(self, key):
        """It ran, the answer did not come, and the operation is sent again."""
        adding = _Adding(self.buffer, {key: 3})
        _add(client(Role.STATE), adding.keys, adding.arguments)
        adding._send_again()
        self.expected[key] += 3

    @rule(target=Machine.late)
    def a_flusher_is_paused(self):
        parts = [self.buffer.part(name) for name in ("sealed", "batches", "state")]
        found = _take(client(Role.STATE), parts, [10, 1, "paused"])
        return list(zip(found[::2], found[1::2], strict=True))

    @rule(taken=Machine.late)
    def it_wakes(self, taken):
        """Even without the fence: the batches' ids alone keep it from doing harm."""
        for batch, contents in taken:
            self.buffer._settle(batch.decode(), contents, nothing, "paused")

    @invariant()
    def readers_see_the_exact_total(self):
        assert self.buffer.get_many(KEYS) == self.expected


MACHINES = [LatestMachine, GreatestMachine, SumMachine]


@pytest.mark.parametrize("machine", MACHINES)
def test_nothing_is_lost_doubled_or_turned_back(machine):
    run_state_machine_as_test(machine, settings=QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_nothing_is_lost_doubled_or_turned_back_in_many_runs(machine):
    run_state_machine_as_test(machine, settings=THOROUGH)
