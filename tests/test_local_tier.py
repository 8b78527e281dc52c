"""The local tier by itself: what it keeps, what it must forget, and what it may serve."""

import threading
import time
from collections.abc import Iterable

import pytest
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from intellicolab.cache import local
from intellicolab.cache.local import MISSING, LocalTier
from intellicolab.cache.tracking import Tracker

ROOM = "ic:cache:{room:1}"
OTHER = "ic:cache:{room:2}"
TAG = "ic:tag:{rooms}"
PREFIXES = ["ic:cache:{room:", "ic:tag:"]


class Standstill(Tracker):
    """A tracker that the tests themselves play: it never connects."""

    def start(self) -> None:
        pass


def alone(max_entries: int = 100, max_bytes: int = 10_000) -> LocalTier[object]:
    """A tier with a lease of an hour and nobody to tell it anything."""
    tier: LocalTier[object] = LocalTier(PREFIXES, max_entries, max_bytes, tracker=Standstill())
    tier.extend(time.monotonic() + 3600)
    return tier


def put(
    tier: LocalTier[object], name: str, value: object = "value", size: int = 1, depends: Iterable[str] = ()
) -> bool:
    ticket = tier.begin(name)
    assert ticket is not None
    return tier.put(ticket, value, size, time.monotonic() + 60, tuple(depends))


# What a tier keeps.


def test_a_value_is_served_until_it_expires():
    tier = alone()
    assert put(tier, ROOM, "lobby")
    assert tier.get(ROOM) == "lobby"
    tier.put(tier.begin(ROOM), "lobby", 1, time.monotonic())
    assert tier.get(ROOM) is MISSING


def test_none_is_a_value():
    tier = alone()
    put(tier, ROOM, None)
    assert tier.get(ROOM) is None


def test_nothing_is_served_outside_the_lease():
    tier = alone()
    put(tier, ROOM)
    tier.extend(time.monotonic())
    assert tier.get(ROOM) is MISSING
    assert tier.begin(OTHER) is None
    tier.extend(time.monotonic() + 60)
    assert tier.get(ROOM) == "value"


def test_the_number_of_entries_is_bounded():
    tier = alone(max_entries=3)
    for number in range(10):
        put(tier, str(number))
    assert tier.stats == (3, 3, 7)
    assert [tier.get(str(number)) for number in (6, 7, 8, 9)] == [MISSING, "value", "value", "value"]


def test_the_bytes_are_bounded():
    tier = alone(max_bytes=100)
    for name in "abc":
        put(tier, name, size=40)
    assert tier.stats == (2, 80, 1)
    put(tier, "large", size=100)
    assert tier.stats == (1, 100, 3)


def test_a_value_above_the_bound_is_not_kept_and_drives_nothing_out():
    tier = alone(max_bytes=100)
    put(tier, "small", size=60)
    assert not put(tier, "large", size=101)
    assert tier.get("large") is MISSING
    assert tier.get("small") == "value"


def test_a_new_value_takes_the_place_of_the_old_one():
    tier = alone(max_bytes=100)
    put(tier, ROOM, "old", size=70)
    put(tier, ROOM, "new", size=50)
    assert tier.get(ROOM) == "new"
    assert tier.stats == (1, 50, 0)


def test_what_is_used_outlives_what_is_not():
    tier = alone(max_entries=3)
    for name in ("hot", "b", "c"):
        put(tier, name)
    for name in "defgh":
        assert tier.get("hot") == "value"
        put(tier, name)
    assert tier.get("hot") == "value"
    assert tier.get("b") is MISSING


def test_a_tier_where_everything_is_used_still_takes_new_values():
    tier = alone(max_entries=local.SECOND_CHANCES * 2)
    for number in range(local.SECOND_CHANCES * 2):
        put(tier, str(number))
        tier.get(str(number))
    assert put(tier, ROOM)
    assert tier.get(ROOM) == "value"


def test_an_expired_entry_goes_first_though_it_was_used():
    tier = alone(max_entries=2)
    expires = time.monotonic() + 0.05
    tier.put(tier.begin("late"), "value", 1, expires)
    tier._entries["late"].used = True
    put(tier, "fresh")
    while time.monotonic() <= expires:
        assert tier.stats.evictions == 0
    put(tier, "new")
    assert tier.stats.evictions == 1
    assert tier.get("fresh") == "value"


@pytest.mark.parametrize("arguments", [([], 1, 1), ([""], 1, 1), (["a"], 0, 1), (["a"], 1, 0)])
def test_a_tier_without_keys_or_room_is_refused(arguments):
    with pytest.raises(ValueError, match="local tier"):
        LocalTier(*arguments, tracker=Standstill())


# Reads under way.


def test_an_invalidation_voids_every_read_under_way_of_its_name():
    tier = alone()
    first, second, other = tier.begin(ROOM), tier.begin(ROOM), tier.begin(OTHER)
    tier.invalidated([ROOM])
    expires = time.monotonic() + 60
    assert not tier.put(first, "old", 1, expires)
    assert not tier.put(second, "old", 1, expires)
    assert tier.put(other, "value", 1, expires)
    assert tier.get(ROOM) is MISSING


def test_a_read_begun_after_the_invalidation_is_kept():
    tier = alone()
    tier.invalidated([ROOM])
    assert put(tier, ROOM, "new")
    assert tier.get(ROOM) == "new"


def test_a_writer_does_not_find_what_it_has_overwritten():
    tier = alone()
    put(tier, ROOM, "old")
    late = tier.begin(ROOM)
    tier.drop(ROOM)
    assert tier.get(ROOM) is MISSING
    assert not tier.put(late, "old", 1, time.monotonic() + 60)


def test_a_ticket_is_good_for_one_value_and_for_none_after_a_failure():
    tier = alone()
    ticket = tier.begin(ROOM)
    assert tier.put(ticket, "value", 1, time.monotonic() + 60)
    assert not tier.put(ticket, "again", 1, time.monotonic() + 60)
    failed = tier.begin(ROOM)
    tier.abandon(failed)
    assert not tier.put(failed, "value", 1, time.monotonic() + 60)


def test_readers_that_never_return_leave_nothing_behind():
    tier = alone()
    for _ in range(10_000):
        tier.begin(ROOM)
    assert tier.stats.entries == 0
    assert len(tier._changes._latest) == 0


def test_a_read_that_outlasts_what_is_remembered_is_not_kept():
    tier = alone()
    ticket = tier.begin(ROOM)
    tier.invalidated([f"ic:cache:{{room:{number}}}" for number in range(10, 10 + local.REMEMBERED)])
    just_in_time = tier.begin(OTHER)
    assert len(tier._changes._latest) == local.REMEMBERED
    tier.invalidated([f"ic:cache:{{room:{number}}}" for number in range(10_000, 10_001)])
    assert not tier.put(ticket, "value", 1, time.monotonic() + 60)
    assert tier.put(just_in_time, "value", 1, time.monotonic() + 60)


def test_a_read_begun_before_tracking_was_lost_is_not_kept_when_it_is_back():
    tier = alone()
    ticket = tier.begin(ROOM)
    tier.lose()
    tier.extend(time.monotonic() + 60)
    assert not tier.put(ticket, "value", 1, time.monotonic() + 60)


# Tags.


def test_a_tag_drops_all_that_depends_on_it():
    tier = alone()
    put(tier, ROOM, depends=[TAG])
    put(tier, OTHER, depends=[TAG, "ic:tag:{else}"])
    put(tier, "ic:cache:{room:3}")
    tier.invalidated([TAG])
    assert tier.get(ROOM) is MISSING
    assert tier.get(OTHER) is MISSING
    assert tier.get("ic:cache:{room:3}") == "value"
    assert tier.stats.bytes == 1
    assert tier._dependants == {}


def test_a_tag_voids_the_reads_under_way_that_depend_on_it():
    tier = alone()
    ticket, plain = tier.begin(ROOM), tier.begin(OTHER)
    tier.invalidated([TAG])
    assert not tier.put(ticket, "old", 1, time.monotonic() + 60, [TAG])
    assert tier.put(plain, "value", 1, time.monotonic() + 60)


def test_an_entry_that_left_its_tag_is_not_dropped_with_it():
    tier = alone()
    put(tier, ROOM, depends=[TAG])
    put(tier, ROOM, "new")
    tier.invalidated([TAG])
    assert tier.get(ROOM) == "new"


# Threads.


def test_many_threads_at_once_keep_the_bounds():
    tier = alone()
    names = [f"ic:cache:{{room:{number}}}" for number in range(300)]
    faults: list[BaseException] = []
    stop = threading.Event()

    def work(seed: int) -> None:
        try:
            for turn in range(4000):
                name = names[(turn * (seed + 7)) % len(names)]
                if tier.get(name) is MISSING and (ticket := tier.begin(name)):
                    tier.put(ticket, turn, 150, time.monotonic() + 60, [TAG] if turn % 3 else [])
                if turn % 17 == 0:
                    tier.drop(name, OTHER)
                if turn % 501 == 0:
                    tier.drop(TAG)
                if turn % 1501 == 0:
                    tier.clear()
        except BaseException as fault:
            faults.append(fault)

    def watch() -> None:
        while not stop.is_set():
            entries, size, _ = tier.stats
            if entries > 100 or size > 10_000:
                faults.append(AssertionError((entries, size)))

    watcher = threading.Thread(target=watch)
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in [watcher, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    watcher.join()
    assert faults == []
    assert tier.stats.evictions > 0
    with tier._lock:
        assert tier.stats.bytes == sum(entry.size for entry in tier._entries.values())
        depending = {name for name, entry in tier._entries.items() if entry.depends}
        assert tier._dependants == ({TAG: depending} if depending else {})


# Against a model: never a value older than the last invalidation that was told.

NAMES = st.sampled_from(["room:a", "room:b", "room:c", "room:d"])
TAGS = st.sampled_from(["tag:x", "tag:y"])
SIZES = st.integers(1, 12)


class LocalTierMachine(RuleBasedStateMachine):
    """The truth is a version a key. A value is the versions of its keys at the moment it was read."""

    @initialize(entries=st.integers(1, 4), size=st.integers(4, 24))
    def make(self, entries: int, size: int) -> None:
        self.max_entries, self.max_bytes = entries, size
        self.tier: LocalTier[dict[str, int]] = LocalTier(["room:", "tag:"], entries, size, tracker=Standstill())
        self.truth: dict[str, int] = {}
        self.told: dict[str, int] = {}  # the version below which nothing may be served
        self.messages: list[str] = []  # invalidations that are on their way
        self.reads: list[dict] = []
        self.on = False

    def everything_is_void(self) -> None:
        self.told = dict(self.truth)
        for read in self.reads:
            read["void"] = True

    def is_told(self, key: str, version: int) -> None:
        self.told[key] = max(self.told.get(key, 0), version)
        for read in self.reads:
            if key in (read["ticket"].name, *read["depends"]):
                read["void"] = True

    @rule()
    def connect(self) -> None:
        self.on = True
        self.tier.extend(time.monotonic() + 3600)

    @rule()
    def lose_connection(self) -> None:
        self.on = False
        self.messages.clear()
        self.tier.lose()
        self.everything_is_void()

    @rule(key=NAMES | TAGS)
    def write_elsewhere(self, key: str) -> None:
        self.truth[key] = self.truth.get(key, 0) + 1
        if self.on:
            self.messages.append(key)

    @precondition(lambda self: self.messages)
    @rule(count=st.integers(1, 3))
    def hear(self, count: int) -> None:
        batch, self.messages = self.messages[:count], self.messages[count:]
        self.tier.invalidated(batch)
        for key in batch:  # the version that this message is about: the later ones are still on their way
            self.is_told(key, self.truth[key] - self.messages.count(key))

    @rule(key=NAMES | TAGS)
    def write_here(self, key: str) -> None:
        self.truth[key] = self.truth.get(key, 0) + 1
        if self.on:
            self.messages.append(key)
        self.tier.drop(key)
        self.is_told(key, self.truth[key])

    @rule()
    def flush(self) -> None:
        self.tier.clear()
        self.everything_is_void()

    @rule(name=NAMES, depends=st.lists(TAGS, unique=True))
    def begin(self, name: str, depends: list[str]) -> None:
        ticket = self.tier.begin(name)
        assert (ticket is not None) == self.on
        if ticket is not None:
            self.reads.append({"ticket": ticket, "depends": depends, "value": None, "void": False})

    @precondition(lambda self: self.reads)
    @rule(data=st.data())
    def read(self, data) -> None:
        read = data.draw(st.sampled_from(self.reads))
        read["value"] = {key: self.truth.get(key, 0) for key in (read["ticket"].name, *read["depends"])}

    @precondition(lambda self: any(read["value"] for read in self.reads))
    @rule(data=st.data(), size=SIZES, expired=st.booleans())
    def put(self, data, size: int, expired: bool) -> None:
        read = data.draw(st.sampled_from([read for read in self.reads if read["value"]]))
        self.reads.remove(read)
        expires = time.monotonic() + (-1 if expired else 3600)
        kept = self.tier.put(read["ticket"], read["value"], size, expires, read["depends"])
        assert kept == (not read["void"] and size <= self.max_bytes)
        if kept and self.on:
            assert self.tier.get(read["ticket"].name) == (MISSING if expired else read["value"])

    @precondition(lambda self: self.reads)
    @rule(data=st.data())
    def abandon(self, data) -> None:
        read = data.draw(st.sampled_from(self.reads))
        self.reads.remove(read)
        self.tier.abandon(read["ticket"])
        assert not self.tier.put(read["ticket"], {}, 1, time.monotonic() + 3600)

    @rule(name=NAMES)
    def get(self, name: str) -> None:
        value = self.tier.get(name)
        if value is MISSING:
            return
        assert self.on
        assert name in value
        for key, version in value.items():
            assert version >= self.told.get(key, 0), (key, version, self.told)

    @invariant()
    def bounds(self) -> None:
        if hasattr(self, "tier"):
            entries = self.tier._entries.values()
            assert self.tier.stats.entries == len(entries) <= self.max_entries
            assert self.tier.stats.bytes == sum(entry.size for entry in entries) <= self.max_bytes
            assert set(self.tier._dependants) == {key for entry in entries for key in entry.depends}


LocalTierMachine.TestCase.settings = examples(max_examples=100, stateful_step_count=40, deadline=None)
TestLocalTierAgainstAModel = LocalTierMachine.TestCase
