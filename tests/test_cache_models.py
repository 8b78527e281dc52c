"""State machines over the strategies: processes that read, write and invalidate in any order, and fail at any step.

What each strategy promises, and `World` (`cache_model.py`) asserts for every read, from the moment it begins:

cache-aside    Not older than the last change whose invalidation is complete. A change whose process died between its
               commit and the invalidation, or with the invalidation owed to a Redis that was away, is seen after the
               time to live, plus the stale time, plus the lease at the latest (what was loaded before the commit may be
               stored until its flight's lease ends).
stale time     Changes nothing in this: an invalidated value is not served, a value that only grew old is.
refresh-ahead  The same. Its refreshes are readers that nobody waits for.
write-through  Not older than the last `set` that has returned; never what a transaction rolled back. What dies between
               commit and store is bounded as above.
local tier     The process's own changes as above; those of others once Redis's message has come, or the connection that
               brings it was lost.

Of all: one loader at a time, unless something has happened since it began; nobody waits longer than the lease; when all
is quiet, everybody reads the newest, and nothing is left in memory. A Redis that fails at any step, before or after it
did what it was asked, changes none of it.
"""

import asyncio

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from redis.exceptions import ConnectionError as RedisConnectionError

from intellicolab.cache.effects import Calls, Fetch, Load, Pop
from intellicolab.cache.strategies import CacheAside, RefreshAhead, Strategy, WriteThrough
from intellicolab.redis import keys

from .cache_model import KEYS, LEASE, NAMES, TTL, World

STALE = 30.0
TIER = (100, 100_000)

process = st.integers(0, 1)
key = st.sampled_from([1, 1, 1, 2])
which = st.integers(0, 5)  # of the operations under way
evictable = st.sampled_from([made for name in NAMES for made in (name, keys.flight(name), keys.wake(name))])
spans = st.sampled_from([LEASE / 2, LEASE, TTL - 1, TTL, STALE])
# Faults are a rule in four, whatever their number: more, and nothing would get far enough to go wrong.
faults = st.sampled_from("redis loader cancel kill settle time evict script".split())


def never(*arguments: object) -> None:
    """The model writes to its own database."""
    raise AssertionError


class Machine(RuleBasedStateMachine):
    strategy: Strategy
    local: tuple[int, int] | None = None
    through_loop = False

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.strategy, self.local, self.through_loop)

    def teardown(self) -> None:
        try:
            self.world.quiesce()
        finally:
            self.world.close()

    @invariant()
    def what_is_served_is_recent_enough(self):
        for own in self.world.processes:
            for key in KEYS:
                self.world.probe(own, key)

    def _pick(self, which, *effects):
        fit = [action for action in self.world.actions if not effects or isinstance(action.effect, effects)]
        return fit[which % len(fit)] if fit else None

    @rule(process=process, wanted=st.sampled_from([[1], [1], [2], [1, 2]]))
    def read(self, process, wanted):
        self.world.read(self.world.processes[process], wanted)

    @rule(process=process, key=key, kind=st.sampled_from("write write rollback invalidate refresh".split()))
    def change(self, process, key, kind):
        world, own = self.world, self.world.processes[process]
        match kind:
            case "write":
                world.write(own, key)
            case "rollback":
                world.write(own, key, rolled_back=True)
            case "invalidate":
                world.invalidate(own, key)
            case _:
                world.refresh(own, key)

    @precondition(lambda self: self.world.actions)
    @rule(steps=st.lists(st.tuples(which, st.booleans()), min_size=1, max_size=8))
    def go_on(self, steps):
        for number, halfway in steps:
            if self.world.actions:
                self.world.step(self._pick(number), halfway)

    @rule(process=process, key=key, kind=st.sampled_from("write write rollback invalidate".split()))
    def a_change_overtakes_a_load(self, process, key, kind):
        """What the strategies are most about; chance alone brings it about in few runs."""
        world = self.world
        world.evict(keys.cached("modelled", key))
        loading = world.read(world.processes[process], [key])
        self._go_on(loading, Load)
        if not loading.is_over:
            world.step(loading, halfway=True)  # it has loaded, and has not stored
            self.change(1 - process, key, kind)
            self._go_on(world.actions[-1])

    @precondition(lambda self: self.world.actions)
    @rule(which=which)
    def go_on_to_the_end(self, which):
        self._go_on(self._pick(which))

    def _go_on(self, action, *until):
        """To its end, or to an effect of this kind, or until it has to wait."""
        effect = None
        while not (action.is_over or action.effect is effect or isinstance(action.effect, until)):
            effect = action.effect
            self.world.step(action)

    @precondition(lambda self: self.world.actions)
    @rule(fault=faults, process=process, which=which, carried_out=st.booleans(), seconds=spans, name=evictable)
    def something_happens(self, fault, process, which, carried_out, seconds, name):
        world = self.world
        match fault:
            case "redis":
                self._fail(RedisConnectionError("gone"), self._pick(which, Fetch, Calls, Pop), carried_out)
            case "loader":
                self._fail(LookupError("no database"), self._pick(which, Load), carried_out=False)
            case "cancel":
                action = self._pick(which)
                self._fail(asyncio.CancelledError(), action if action and action.kind == "read" else None, carried_out)
            case "kill":
                world.kill(world.processes[process])
            case "settle":
                world.settle(world.processes[process])
            case "time":
                world.advance(seconds)
            case "evict":
                world.evict(name)
            case _:
                world.redis.script_flush()

    def _fail(self, error, action, carried_out):
        if action is not None:
            self.world.fail(action, error, carried_out)


class WithTier(Machine):
    local = TIER

    @rule(process=process, lost=st.sampled_from([False, False, False, True]))
    def invalidations_arrive(self, process, lost):
        own = self.world.processes[process]
        (self.world.lose_tracking if lost else self.world.deliver)(own)


MACHINES = {
    "cache-aside": (Machine, CacheAside()),
    "cache-aside with stale values": (Machine, CacheAside(stale=STALE)),
    "cache-aside with a local tier": (WithTier, CacheAside()),
    "write-through": (Machine, WriteThrough(writer=never)),
    "write-through with a local tier": (WithTier, WriteThrough(writer=never)),
    "refresh-ahead": (Machine, RefreshAhead(stale=STALE)),
}


def run(name: str, examples: int, steps: int, through_loop: bool = False) -> None:
    base, strategy = MACHINES[name]
    machine = type(base.__name__, (base,), {"strategy": strategy, "through_loop": through_loop})
    profile = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine, settings=profile)


@pytest.mark.parametrize("name", MACHINES)
def test_no_reader_sees_what_is_older_than_the_strategy_promises(name):
    run(name, examples=20, steps=30)


def test_nor_does_one_of_an_event_loop():
    run("cache-aside with stale values", examples=10, steps=30, through_loop=True)


@pytest.mark.slow
@pytest.mark.parametrize("through_loop", [False, True])
@pytest.mark.parametrize("name", MACHINES)
def test_in_many_more_orders(name, through_loop):
    run(name, examples=100, steps=50, through_loop=through_loop)
