"""The limiter's script against a plain model of each algorithm: random schedules, costs, limits that change, clocks
that are set. The server, the script and its packing are real; only the time is the test's."""

import copy
import dataclasses

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from intellicolab.redis import keys
from intellicolab.redis.client import Role
from intellicolab.redis.client import client as redis_client
from ratelimit.reference import MODELS
from ratelimit.rules import Algorithm, Rule

from .limit_clock import SCRIPT, Scripted, name_of

pytestmark = pytest.mark.topology

START = 1_800_000_000_000_000  # microseconds; the year 2027
COUNTED = list(MODELS)

limits = st.integers(1, 40)
windows = st.sampled_from([1, 7, 1000, 60_000, 3_600_000])
bursts = st.integers(0, 60)
costs = st.integers(1, 45)
pauses = st.one_of(st.just(0), st.integers(1, 50), st.integers(1, 10_000_000), st.integers(1, 8_000_000_000))

step = st.one_of(
    st.tuples(st.just("hit"), costs),
    st.tuples(st.just("hit"), st.just(1)),
    st.tuples(st.just("peek"), costs),
    st.tuples(st.just("pass"), pauses),
    st.tuples(st.just("wait"), costs),  # until the time at which the cost was promised to be admitted
    st.tuples(st.just("set back"), pauses),
    st.tuples(st.just("change"), st.tuples(limits, windows, bursts)),
)


class Compared:
    """One rule, decided by the script and by its model.

    A state ends when nothing of it counts any more by the numbers that it was last charged with: who waits so long
    after a limit was lowered begins anew.
    """

    def __init__(self, algorithm, limit, window, burst):
        self.rule = Rule("compared", limit, window, algorithm, burst)
        self.written = self.rule  # as the state was charged with last
        self.model = MODELS[algorithm]()
        redis_client(Role.STATE).delete(f"{{model}}:compared:{algorithm}")
        self.script = Scripted(redis_client(Role.STATE))
        self.now = START

    def do(self, name, value):
        getattr(self, f"_{name.replace(' ', '_')}")(value)

    def _hit(self, cost):
        self._ask("hit", cost)

    def _peek(self, cost):
        self._ask("peek", cost)

    def _pass(self, microseconds):
        self.now += microseconds

    def _set_back(self, microseconds):
        self.now -= microseconds

    def _change(self, numbers):
        limit, window, burst = numbers
        self.rule = dataclasses.replace(self.rule, limit=limit, window_ms=window, burst=burst)

    def _ask(self, operation, cost):
        if self.script.expire(self.rule, self.now):
            self.model = MODELS[self.rule.algorithm]()
        (decision,) = self.script(operation, [(self.rule, cost)], self.now)
        model = copy.deepcopy(self.model)
        model.change(self.written, self.rule)
        ahead = model.ahead(self.rule, self.now)
        admitted = model.admits(self.rule, cost, self.now)
        assert decision.admitted == admitted
        charged = admitted and operation == "hit"
        if operation == "hit" and (admitted or ahead):
            self.model, self.written = model, self.rule
        if charged:
            model.take(self.rule, cost, self.now)
            self._check_lifetime(decision)
        assert decision.remaining == model.left(self.rule, self.now)
        self._compare_times(model, decision, 1 if charged else cost)
        return decision

    def _check_lifetime(self, decision):
        """Not shorter than what counts: that would give requests away. And hardly longer."""
        lifetime = self.script.end(self.rule) - self.now
        assert decision.reset <= lifetime <= decision.reset + 2000

    def _compare_times(self, model, decision, cost):
        """Promised times are exact to the microsecond: admitted then, and not one microsecond before."""
        if decision.wait is None:
            assert cost > self.rule.capacity
            return
        assert self._admits_at(model, cost, self.now + decision.wait)
        assert decision.wait == 0 or not self._admits_at(model, cost, self.now + decision.wait - 1)
        assert self._admits_at(model, self.rule.capacity, self.now + decision.reset)
        assert decision.reset >= decision.wait

    def _admits_at(self, model, cost, time):
        return copy.deepcopy(model).admits(self.rule, cost, time)

    def _wait(self, cost):
        """Who was refused and comes back when they were told to is admitted."""
        decision = self._ask("hit", cost)
        if not decision.admitted and decision.wait is not None:
            self.now += decision.wait
            assert self._ask("hit", cost).admitted


@pytest.mark.parametrize("algorithm", COUNTED, ids=lambda algorithm: algorithm.name.lower())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=limits, window=windows, burst=bursts, steps=st.lists(step, max_size=30))
@example(limit=3, window=1, burst=0, steps=[("hit", 1), ("change", (1, 1, 0)), ("change", (9, 60_000, 2)), ("hit", 1)])
def test_the_script_decides_as_its_model(clean_redis, algorithm, limit, window, burst, steps):
    compared = Compared(algorithm, limit, window, burst)
    for name, value in steps:
        compared.do(name, value)


# --- Several rules at once --------------------------------------------------------------------------------------------

STRICT = Rule("strict", 1)
WIDE = Rule("wide", 10, algorithm=Algorithm.TOKEN_BUCKET)
SILENT = Rule("silent", 2, shadow=True)


@pytest.fixture
def ask(clean_redis):
    script = Scripted(redis_client(Role.STATE))

    def ask(operation, *asked, now=START, lease=""):
        return script(operation, [one if isinstance(one, tuple) else (one, 1) for one in asked], now, lease)

    return ask


def test_what_one_rule_refuses_costs_the_others_nothing(ask):
    assert [decision.admitted for decision in ask("hit", STRICT, WIDE)] == [True, True]
    assert [decision.admitted for decision in ask("hit", STRICT, WIDE)] == [False, True]
    assert ask("peek", WIDE)[0].remaining == 9


def test_a_shadow_rule_refuses_nobody_and_takes_no_more_than_its_limit(ask):
    seen = [ask("hit", WIDE, SILENT) for _ in range(4)]
    assert [silent.admitted for _, silent in seen] == [True, True, False, False]
    assert [wide.remaining for wide, _ in seen] == [9, 8, 7, 6]


def test_who_is_refused_by_a_rule_that_is_enforced_is_not_counted_by_a_shadow_rule(ask):
    for _ in range(3):
        ask("hit", STRICT, SILENT)
    assert ask("peek", SILENT)[0].remaining == 1


def test_a_cost_above_the_limit_is_never_admitted_and_costs_nothing(ask):
    for algorithm in Algorithm:
        rule = Rule("dear", 10, algorithm=algorithm, burst=10)
        (refused,) = ask("hit", (rule, 11), lease="a")
        assert (refused.admitted, refused.wait) == (False, None)
        assert ask("peek", rule, lease="a")[0].remaining == 10


@pytest.mark.parametrize("algorithm", Algorithm, ids=lambda algorithm: algorithm.name.lower())
def test_a_refund_takes_a_charge_back(ask, algorithm):
    rule = Rule("refunded", 10, algorithm=algorithm, burst=10)
    ask("hit", rule, lease="kept")
    ask("hit", (rule, 1), lease="given back")
    ask("refund", (rule, 1), lease="given back")
    assert ask("peek", rule, lease="other")[0].remaining == 9


@pytest.mark.parametrize("algorithm", COUNTED, ids=lambda algorithm: algorithm.name.lower())
def test_a_refund_of_what_is_forgotten_gives_nothing(ask, clean_redis, algorithm):
    ask("refund", Rule("empty", 10, algorithm=algorithm, burst=10))
    assert redis_client(Role.STATE).keys("*empty*") == []


# --- Leases -----------------------------------------------------------------------------------------------------------

TWO = Rule("two", 2, 60_000, Algorithm.CONCURRENCY)
MINUTE = 60 * 10**6


def test_as_many_leases_as_the_limit_and_the_next_when_one_ends(ask):
    assert ask("hit", TWO, lease="a")[0].admitted
    assert ask("hit", TWO, lease="b", now=START + 1000)[0].wait == MINUTE - 1000
    (refused,) = ask("hit", TWO, lease="c", now=START + 2000)
    assert (refused.admitted, refused.remaining, refused.wait) == (False, 0, MINUTE - 2000)
    assert not ask("hit", TWO, lease="c", now=START + MINUTE - 1)[0].admitted
    assert ask("hit", TWO, lease="c", now=START + MINUTE)[0].admitted


def test_who_holds_a_lease_renews_it_by_asking_again(ask):
    ask("hit", TWO, lease="a")
    ask("hit", TWO, lease="b")
    assert ask("hit", TWO, lease="a", now=START + MINUTE // 2)[0].admitted
    assert ask("hit", TWO, lease="c", now=START + MINUTE)[0].admitted  # in b's place
    assert not ask("hit", TWO, lease="d", now=START + MINUTE)[0].admitted


def test_who_let_a_lease_end_asks_as_anybody_else(ask):
    ask("hit", TWO, lease="late")
    ask("hit", TWO, lease="b", now=START + MINUTE // 2)
    fewer = dataclasses.replace(TWO, limit=1)
    assert not ask("hit", fewer, lease="late", now=START + MINUTE)[0].admitted


def test_a_clock_that_was_set_back_makes_no_lease_longer(ask):
    ask("hit", TWO, lease="a")
    ask("hit", TWO, lease="b")
    back = START - 100 * MINUTE
    (refused,) = ask("hit", TWO, lease="c", now=back)
    assert refused.wait == MINUTE
    assert ask("hit", TWO, lease="c", now=back + MINUTE)[0].admitted


class Holders:
    """Leases as they are meant: who holds one, and until when. Compared with the script at each step."""

    def __init__(self, limit, window):
        self.rule = Rule("held", limit, window, Algorithm.CONCURRENCY)
        redis_client(Role.STATE).delete(name_of(self.rule))
        self.script = Scripted(redis_client(Role.STATE))
        self.ends = {}
        self.now = START

    @property
    def window(self):
        return self.rule.window_ms * 1000

    def do(self, name, value):
        getattr(self, f"_{name.replace(' ', '_')}")(*value)

    def _pass(self, microseconds):
        self.now += microseconds

    def _pass_part(self, percent):
        self.now += self.window * percent // 100

    def _set_back(self, microseconds):
        self.now -= microseconds

    def _change(self, limit, window):
        self.rule = dataclasses.replace(self.rule, limit=limit, window_ms=window)

    def _hit(self, lease, cost):
        said = self._said("hit", lease, cost)
        waits = self._waits(lease, cost)
        assert said.admitted == (waits == 0)
        if said.admitted or any(end > self.now + self.window for end in self.ends.values()):
            self._settle()
        if said.admitted:
            self.ends[lease] = self.now + self.window
            waits = self._waits("", 1)
        self._compare(said, waits)

    def _peek(self, lease, cost):
        said = self._said("peek", lease, cost)
        waits = self._waits(lease, cost)
        assert said.admitted == (waits == 0)
        self._compare(said, waits)

    def _refund(self, lease):
        self._said("refund", lease, 1)
        self.ends.pop(lease, None)

    def _said(self, operation, lease, cost):
        if self.script.expire(self.rule, self.now):
            assert self._used() == 0, "what was held was forgotten"
            self.ends = {}
        return self.script(operation, [(self.rule, cost)], self.now, lease)[0]

    def _settle(self):
        self.ends = {lease: min(end, self.now + self.window) for lease, end in self.ends.items() if end > self.now}

    def _used(self):
        return sum(end > self.now for end in self.ends.values())

    def _waits(self, lease, cost):
        """Until the cost is admitted; None for never."""
        if cost > self.rule.limit:
            return None
        over = self._used() + cost - self.rule.limit
        if over <= 0 or self.ends.get(lease, 0) > self.now:
            return 0
        ends = sorted(end for end in self.ends.values() if end > self.now)
        return min(ends[over - 1] - self.now, self.window)

    def _compare(self, said, waits):
        assert said.wait == waits
        assert said.remaining == max(0, self.rule.limit - self._used())
        last = max((end for end in self.ends.values()), default=self.now)
        assert said.reset == max(0, min(last - self.now, self.window))


names, held_windows = st.sampled_from("abc"), st.sampled_from([7, 60_000])
holding = st.one_of(
    st.tuples(st.just("hit"), st.tuples(names, st.integers(1, 3))),
    st.tuples(st.just("hit"), st.tuples(names, st.just(1))),
    st.tuples(st.just("peek"), st.tuples(names, st.integers(1, 3))),
    st.tuples(st.just("refund"), st.tuples(names)),
    st.tuples(st.just("pass"), st.tuples(pauses)),
    st.tuples(st.just("pass part"), st.tuples(st.sampled_from([50, 60, 99, 100]))),
    st.tuples(st.just("set back"), st.tuples(pauses)),
    st.tuples(st.just("change"), st.tuples(st.integers(1, 3), held_windows)),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 3), window=held_windows, steps=st.lists(holding, max_size=30))
def test_leases_are_held_as_they_are_meant(clean_redis, limit, window, steps):
    holders = Holders(limit, window)
    for name, value in steps:
        holders.do(name, value)


# --- What lies in Redis -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", COUNTED, ids=lambda algorithm: algorithm.name.lower())
def test_a_state_takes_at_most_128_bytes_with_its_key_however_much_was_asked(clean_redis, algorithm):
    redis = redis_client(Role.STATE)
    rule = Rule("12", 10**6, 3_600_000, algorithm, burst=10**6)
    decide = redis.register_script(SCRIPT)
    name = keys.limit(rule.state, "x" * 22)
    for _ in range(100):
        decide(keys=[name], args=["hit", rule.packed(7)])
    assert redis.memory_usage(name) <= 128
    assert 0 < redis.pttl(name) <= 2 * 3_600_000 + 1


def test_a_rule_that_cannot_be_decided_exactly_is_refused():
    Rule("fine", 1_000_000, 24 * 3_600_000, Algorithm.TOKEN_BUCKET)
    with pytest.raises(ValueError, match="exactly"):
        Rule("too much", 1_000_003, 24 * 3_600_000, Algorithm.TOKEN_BUCKET)
    for wrong in ({"limit": 0}, {"limit": 1, "window_ms": 0}, {"limit": 1, "burst": -1}):
        with pytest.raises(ValueError, match="at least 1"):
            Rule("wrong", **wrong)
    with pytest.raises(ValueError, match="longer"):
        Rule("wrong", 1, 2**32)
