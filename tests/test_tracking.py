"""What Redis tells the local tiers, and what becomes of them when it cannot."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from intellicolab.cache.local import MISSING, LocalTier
from intellicolab.cache.tracking import MAX_STALENESS, Tracker, shortest
from intellicolab.redis.client import Role, client, close

ROOM = "ic:cache:{room:1}"
OTHER = "ic:cache:{room:2}"
TAG = "ic:tag:{rooms}"
PREFIXES = ["ic:cache:{room:", "ic:tag:"]
SECONDS = 5.0  # the most that a test waits for what takes milliseconds


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


# What Redis tells.


@pytest.mark.topology
def test_a_write_by_another_connection_is_heard_of(tier):
    put(tier, ROOM, "old")
    put(tier, OTHER)
    write(ROOM)
    assert eventually(lambda: tier.get(ROOM) is MISSING)
    assert tier.get(OTHER) == "value"


@pytest.mark.topology
@pytest.mark.parametrize("command", ["delete", "unlink"])
def test_a_deletion_is_heard_of(tier, command):
    write(ROOM)
    put(tier, ROOM)
    getattr(client(Role.CACHE), command)(ROOM)
    assert eventually(lambda: tier.get(ROOM) is MISSING)


@pytest.mark.topology
def test_an_expiry_in_redis_is_heard_of(tier, tracker):
    client(Role.CACHE).set(ROOM, "value", px=1000)
    assert tracker.wait(SECONDS)
    put(tier, ROOM)
    assert client(Role.CACHE).exists(ROOM)
    assert eventually(lambda: tier.get(ROOM) is MISSING)


@pytest.mark.topology
def test_a_tag_stamp_written_elsewhere_drops_what_depends_on_it(tier):
    put(tier, ROOM, depends=[TAG])
    write(TAG, "1")
    assert eventually(lambda: tier.get(ROOM) is MISSING)


@pytest.mark.topology
def test_a_read_that_an_invalidation_overtakes_is_not_kept(tier, tracker):
    write(ROOM, "old")
    ticket = tier.begin(ROOM)
    value = client(Role.CACHE).get(ROOM)
    write(ROOM, "new")
    assert tracker.wait(SECONDS)
    assert value == b"old"
    assert not tier.put(ticket, value, 3, time.monotonic() + 60)
    assert tier.get(ROOM) is MISSING


@pytest.mark.parametrize("command", [pytest.param("flushdb", marks=pytest.mark.topology), "flushall"])
def test_a_flush_empties_the_tier_and_voids_reads(tier, command):
    put(tier, ROOM)
    ticket = tier.begin(OTHER)
    getattr(client(Role.CACHE), command)()
    assert eventually(lambda: tier.get(ROOM) is MISSING)
    assert tier.stats == (0, 0, 0)
    assert not tier.put(ticket, "value", 1, time.monotonic() + 60)


@pytest.mark.topology
def test_names_that_are_no_text_are_passed_over(tier, tracker):
    put(tier, ROOM)
    client(Role.CACHE).set(b"ic:cache:{room:\xff", "value")
    assert tracker.wait(SECONDS)
    assert tier.get(ROOM) == "value"


@pytest.mark.topology
def test_thousands_of_invalidations_at_once_are_all_taken_in(tier, tracker):
    names = [f"ic:cache:{{room:{number}}}" for number in range(100)]
    for name in names:
        put(tier, name)
    pipeline = client(Role.CACHE).pipeline(transaction=False)
    for name in names * 40:
        pipeline.set(name, "new")
    pipeline.execute()
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


@pytest.mark.topology
def test_a_tier_made_later_is_tracked_too(tier, tracker):
    later: LocalTier[object] = LocalTier(["ic:cache:{tier:"], 10, 1000, tracker=tracker)
    assert tracker.wait(SECONDS)
    put(later, "ic:cache:{tier:1}")
    put(tier, ROOM)
    write("ic:cache:{tier:1}")
    write(ROOM)
    assert eventually(lambda: later.get("ic:cache:{tier:1}") is MISSING and tier.get(ROOM) is MISSING)


@pytest.mark.topology
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
        asked = time.monotonic()
        while tier.get(ROOM) is not MISSING:
            assert asked < paused + MAX_STALENESS  # when it was asked, not when the test went on
            time.sleep(0.005)
            asked = time.monotonic()
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


@pytest.mark.topology
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
    close()  # the parent's connections, which the child shares
    write(OTHER)
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
