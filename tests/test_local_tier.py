"""The local tier: what it may serve, when it must forget, and how it is told."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import pytest
import redis
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from intellicolab.cache import local
from intellicolab.cache.local import MISSING, LocalTier
from intellicolab.cache.tracking import MAX_STALENESS, Tracker, shortest
from intellicolab.redis.client import Role, client, close

ROOM = "ic:cache:{room:1}"
OTHER = "ic:cache:{room:2}"
TAG = "ic:tag:{rooms}"
PREFIXES = ["ic:cache:{room:", "ic:tag:"]
SECONDS = 5.0  # the most that a test waits for what takes milliseconds


class Standstill(Tracker):
    """A tracker that the tests themselves play: it never connects."""

    def start(self) -> None:
        pass


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    tracker = Tracker()
    yield tracker
    tracker.close()


@pytest.fixture
def tier(tracker) -> LocalTier[object]:
    """A tier that is tracked."""
    tier: LocalTier[object] = LocalTier(PREFIXES, 100, 10_000, tracker=tracker)
    assert tracker.wait(SECONDS)
    return tier


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


def eventually(condition: Callable[[], bool], seconds: float = SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def write(name: str, value: str = "new") -> None:
    client(Role.CACHE).set(name, value)


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
    tier.put(tier.begin("late"), "value", 1, time.monotonic() + 0.01)
    assert tier.get("late") == "value"
    put(tier, "fresh")
    assert eventually(lambda: tier.get("late") is MISSING)
    put(tier, "new")
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


# What Redis tells.


def test_a_write_by_another_connection_is_heard_of(tier):
    put(tier, ROOM, "old")
    put(tier, OTHER)
    write(ROOM)
    assert eventually(lambda: tier.get(ROOM) is MISSING)
    assert tier.get(OTHER) == "value"


@pytest.mark.parametrize("command", ["delete", "unlink"])
def test_a_deletion_is_heard_of(tier, command):
    write(ROOM)
    put(tier, ROOM)
    getattr(client(Role.CACHE), command)(ROOM)
    assert eventually(lambda: tier.get(ROOM) is MISSING)


def test_an_expiry_in_redis_is_heard_of(tier, tracker):
    client(Role.CACHE).set(ROOM, "value", px=200)
    assert tracker.wait(SECONDS)
    put(tier, ROOM)
    assert eventually(lambda: tier.get(ROOM) is MISSING)


def test_a_tag_stamp_written_elsewhere_drops_what_depends_on_it(tier):
    put(tier, ROOM, depends=[TAG])
    write(TAG, "1")
    assert eventually(lambda: tier.get(ROOM) is MISSING)


def test_a_read_that_an_invalidation_overtakes_is_not_kept(tier, tracker):
    write(ROOM, "old")
    ticket = tier.begin(ROOM)
    value = client(Role.CACHE).get(ROOM)
    write(ROOM, "new")
    assert tracker.wait(SECONDS)
    assert value == b"old"
    assert not tier.put(ticket, value, 3, time.monotonic() + 60)
    assert tier.get(ROOM) is MISSING


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("command", ["flushdb", "flushall"])
def test_a_flush_empties_the_tier_and_voids_reads(tier, command, role):
    put(tier, ROOM)
    ticket = tier.begin(OTHER)
    getattr(client(role), command)()
    assert eventually(lambda: tier.get(ROOM) is MISSING)
    assert tier.stats == (0, 0, 0)
    assert not tier.put(ticket, "value", 1, time.monotonic() + 60)


def test_names_that_are_no_text_are_passed_over(tier, tracker):
    put(tier, ROOM)
    client(Role.CACHE).set(b"ic:cache:{room:\xff", "value")
    assert tracker.wait(SECONDS)
    assert tier.get(ROOM) == "value"


def test_thousands_of_invalidations_at_once_are_all_taken_in(tier, tracker):
    names = [f"ic:cache:{{room:{number}}}" for number in range(100)]
    for name in names:
        put(tier, name)
    for _ in range(40):
        client(Role.CACHE).mset(dict.fromkeys(names, "new"))
    assert tracker.wait(SECONDS)
    assert tier.stats.entries == 0


# The connection.


def tracking_connections() -> list[dict[str, str]]:
    return [c for c in client(Role.CACHE).client_list() if c["name"] == "intellicolab-cache-tracking"]


def test_all_tiers_share_one_connection_and_one_thread(tier, tracker):
    before = threading.active_count()
    more: list[LocalTier[object]] = [LocalTier([f"ic:cache:{{{kind}:"], 1, 1, tracker=tracker) for kind in "abc"]
    assert tracker.wait(SECONDS)
    assert all(put(each, f"ic:cache:{{{kind}:1}}") for kind, each in zip("abc", more, strict=True))
    assert len(tracking_connections()) == 1
    assert threading.active_count() == before


def test_a_tier_made_later_is_tracked_too(tier, tracker):
    later: LocalTier[object] = LocalTier(["ic:cache:{tier:"], 10, 1000, tracker=tracker)
    assert tracker.wait(SECONDS)
    put(later, "ic:cache:{tier:1}")
    put(tier, ROOM)
    client(Role.CACHE).mset({"ic:cache:{tier:1}": "new", ROOM: "new"})
    assert eventually(lambda: later.get("ic:cache:{tier:1}") is MISSING and tier.get(ROOM) is MISSING)


def test_prefixes_may_overlap(tier, tracker):
    wide: LocalTier[object] = LocalTier(["ic:cache:"], 10, 1000, tracker=tracker)
    assert tracker.wait(SECONDS)
    put(wide, ROOM)
    put(tier, ROOM)
    write(ROOM)
    assert eventually(lambda: wide.get(ROOM) is MISSING and tier.get(ROOM) is MISSING)


def test_only_the_shortest_prefixes_are_asked_for():
    assert shortest(["ab", "a", "b:c", "b:", "abc", "c"]) == ["a", "b:", "c"]


def test_tracking_starts_with_the_first_read(tracker):
    tier: LocalTier[object] = LocalTier(PREFIXES, 10, 1000, tracker=tracker)
    assert tracking_connections() == []
    assert tier.begin(ROOM) is None
    assert eventually(lambda: tier.begin(ROOM) is not None)


def test_a_lost_connection_empties_the_tier_until_it_is_made_again(tier, tracker):
    put(tier, ROOM, "old")
    ticket = tier.begin(OTHER)
    client(Role.CACHE).client_kill_filter(_id=tracking_connections()[0]["id"])
    assert eventually(lambda: tier.stats.entries == 0)
    assert tracker.wait(SECONDS)
    assert tier.get(ROOM) is MISSING
    assert not tier.put(ticket, "old", 1, time.monotonic() + 60)
    assert put(tier, ROOM, "new")


def test_a_server_that_dies_empties_the_tier_at_once(tier, tracker, redis_server):
    put(tier, ROOM)
    ticket = tier.begin(OTHER)
    redis_server.kill()
    assert eventually(lambda: tier.stats.entries == 0 and tier.begin(ROOM) is None)
    redis_server.start()
    assert tracker.wait(SECONDS)
    assert not tier.put(ticket, "value", 1, time.monotonic() + 60)
    assert put(tier, ROOM)


@pytest.mark.slow
def test_a_server_that_hangs_is_not_believed_longer_than_promised(tier, tracker, redis_server):
    put(tier, ROOM)
    redis_server.pause()
    paused = time.monotonic()
    try:
        assert tier.get(ROOM) == "value"  # nobody can know yet
        while tier.get(ROOM) is not MISSING:
            assert time.monotonic() < paused + MAX_STALENESS
            time.sleep(0.005)
        assert tier.begin(ROOM) is None
        assert eventually(lambda: tier.stats.entries == 0)
        assert not tracker.wait(0.1)
    finally:
        redis_server.resume()
    assert tracker.wait(SECONDS)
    assert put(tier, ROOM)


@pytest.mark.slow
def test_the_lease_runs_out_also_when_the_tracking_thread_stands_still(tier, tracker):
    class Stuck:
        prefixes = ("stuck",)

        def __init__(self) -> None:
            self.reached, self.released = threading.Event(), threading.Event()

        def invalidated(self, keys):
            self.reached.set()
            self.released.wait(SECONDS)

        def clear(self): ...
        def extend(self, until): ...
        def lose(self): ...

    stuck = Stuck()
    tracker.watch(stuck)
    assert tracker.wait(SECONDS)
    put(tier, ROOM, "old")
    write("stuck")
    assert stuck.reached.wait(SECONDS)
    write(ROOM, "new")
    written = time.monotonic()
    assert tier.get(ROOM) == "old"
    assert eventually(lambda: tier.get(ROOM) is MISSING)
    assert time.monotonic() < written + MAX_STALENESS + 0.1  # the test looks every 2 ms, on a machine that is busy
    assert tier.stats.entries == 1
    stuck.released.set()
    assert eventually(lambda: tier.stats.entries == 0)


def test_a_hit_stays_one_for_longer_than_the_lease(tier):
    """The heartbeat renews it."""
    lease = tier._until
    put(tier, ROOM)
    assert eventually(lambda: tier._until > lease)
    assert tier.get(ROOM) == "value"


def test_after_close_nothing_is_served_and_a_later_read_starts_again(tier, tracker):
    put(tier, ROOM)
    tracker.close()
    assert tier.get(ROOM) is MISSING
    assert tier.stats.entries == 0
    assert not any(thread.name == "cache-tracking" for thread in threading.enumerate())
    assert tier.begin(ROOM) is None
    assert tracker.wait(SECONDS)
    assert put(tier, ROOM)


@pytest.fixture
def alice_without_tracking(settings) -> Iterator[None]:
    """The cache role's address names a Redis user who may do everything but track."""
    client(Role.CACHE).acl_setuser(
        "alice", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-client|tracking"]
    )
    addresses = settings.REDIS_URLS
    named = addresses[Role.CACHE].replace("unix://", "unix://alice:secret@")
    settings.REDIS_URLS = {**addresses, Role.CACHE: named}
    close()
    yield
    settings.REDIS_URLS = addresses
    close()
    client(Role.CACHE).acl_deluser("alice")


def test_a_server_that_refuses_tracking_costs_hits_only(alice_without_tracking, tracker, caplog):
    tier: LocalTier[object] = LocalTier(PREFIXES, 10, 1000, tracker=tracker)
    write(ROOM)
    assert not tracker.wait(0.1)
    assert eventually(lambda: "alice" in caplog.text and "tracking" in caplog.text)
    assert tier.begin(ROOM) is None
    assert tier.get(ROOM) is MISSING
    assert "secret" not in caplog.text


# Processes and threads.


def child_serves_itself(tier: LocalTier[object], tracker: Tracker) -> bool:
    if tier.get(ROOM) is not MISSING or tier.begin(ROOM) is not None or not tracker.wait(SECONDS):
        return False
    put(tier, ROOM, "child's")
    redis.Redis(unix_socket_path=client(Role.CACHE).connection_pool.connection_kwargs["path"]).set(OTHER, "child")
    return tier.get(ROOM) == "child's"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 advises against what is tested here
def test_a_forked_child_has_a_tier_and_a_connection_of_its_own(tier, tracker):
    put(tier, ROOM, "parent's")
    put(tier, OTHER, "parent's")
    with tier._lock:  # as when another thread is at it
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if child_serves_itself(tier, tracker) else 1)
            finally:
                os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert eventually(lambda: tier.get(OTHER) is MISSING)
    assert tier.get(ROOM) == "parent's"


def test_many_threads_at_once_keep_the_bounds(tier):
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
