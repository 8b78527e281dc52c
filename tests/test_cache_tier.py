"""The local tier as readers of a cached thing meet it. Another declaration of the thing plays another process: the two
share Redis, and neither's tier is told of the other's writes but by Redis."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from django.db import transaction

from intellicolab.cache import tracking
from intellicolab.cache.declaration import Cached
from intellicolab.cache.local import MISSING
from intellicolab.cache.strategies import CacheAside, WriteThrough
from intellicolab.cache.tracking import MAX_STALENESS, tracker
from intellicolab.redis.client import Role, client
from intellicolab.redis.counters import counters, totals

pytestmark = pytest.mark.topology

SECONDS = 5.0  # the most that a test waits for what takes milliseconds


class Rows(dict[str, str]):
    """The database, how often it was asked, and the declarations that two processes make."""

    def __init__(self) -> None:
        super().__init__(a="one", b="two")
        self.loads: Counter[str] = Counter()

    def load(self, key: str) -> str | None:
        self.loads[key] += 1
        return self.get(key)

    def write(self, key: str, value: str) -> str:
        self[key] = value
        return value

    def declare(self, **options) -> Cached[str]:
        made = {"ttl": 60, "type": str, "local": (100, 10_000), "tags": ["all", "key:{key}"], **options}
        return Cached("things", "{key}", self.load, **made)


@pytest.fixture
def rows() -> Iterator[Rows]:
    before = len(Cached.declared)
    yield Rows()
    del Cached.declared[before:]
    tracker.close()


def tracked(*things: Cached[str]) -> None:
    assert tracker.wait(SECONDS)


@pytest.fixture
def thing(rows) -> Cached[str]:
    made = rows.declare()
    tracked(made)
    return made


@pytest.fixture
def counted():
    counters.flush()
    before = Counter(totals("cache"))

    def since() -> dict[str, int]:
        counters.flush()
        now = Counter(totals("cache")) - before
        return {kind: now[f"things:{kind}"] for kind in ("local", "hit", "miss") if now[f"things:{kind}"]}

    return since


def held(thing: Cached[str], key: str = "a") -> object:
    assert thing.tier is not None
    return thing.tier.get(thing.name_of(key))


def warm(thing: Cached[str], *wanted: str) -> None:
    """In the tier: the first read loads and stores, and the next one keeps what it reads."""
    for _ in range(2):
        assert tracker.wait(SECONDS)  # the message of the store would void a read that it overtakes
        thing.get_many(wanted)
    assert all(held(thing, key) is not MISSING for key in wanted)


def test_a_hit_asks_neither_redis_nor_the_database_and_counts_as_local(thing, rows, counted, redis_server):
    warm(thing, "a")
    assert counted() == {"miss": 1, "hit": 1}
    commands = client(Role.CACHE).info("commandstats")
    assert [thing.get("a") for _ in range(3)] == ["one"] * 3
    asked = client(Role.CACHE).info("commandstats")
    assert {asked[name]["calls"] - commands[name]["calls"] for name in ("cmdstat_mget", "cmdstat_evalsha")} == {0}
    assert rows.loads == {"a": 1}
    assert counted() == {"miss": 1, "hit": 1, "local": 3}


async def test_the_asynchronous_form_shares_the_tier(thing, counted, async_redis):
    await asyncio.to_thread(warm, thing, "a")
    assert await thing.aget("a") == "one"
    assert await thing.aget_many(["a", "b"]) == {"a": "one", "b": "two"}
    assert counted() == {"miss": 2, "hit": 1, "local": 2}


def test_many_are_answered_from_the_tier_redis_and_the_database_together(thing, rows, counted):
    warm(thing, "a")
    rows.declare(local=None).get("b")
    before = counted()
    assert thing.get_many(["a", "b", "nobody"]) == {"a": "one", "b": "two", "nobody": None}
    assert Counter(counted()) - Counter(before) == {"local": 1, "hit": 1, "miss": 1}


def test_that_there_is_nothing_is_held_too(thing, rows):
    warm(thing, "nobody")
    assert thing.get("nobody") is None
    assert rows.loads == {"nobody": 1}


@pytest.mark.parametrize("change", ["invalidate", "set", "tag"])
def test_an_own_change_is_seen_at_once(thing, rows, change):
    for number in range(20):
        warm(thing, "a", "b")
        rows["a"] = f"uno {number}"
        match change:
            case "invalidate":
                thing.invalidate("a")
            case "set":
                thing.set("a", value=rows["a"])
            case _:
                thing.invalidate_tag("key:{key}", key="a")
        assert thing.get("a") == f"uno {number}"
        assert held(thing, "b") == "two"  # which the change did not concern


@pytest.mark.django_db(transaction=True)
def test_an_own_write_through_is_seen_at_once(rows):
    thing = rows.declare(strategy=WriteThrough(writer=rows.write), tags=[])
    tracked(thing)
    for number in range(20):
        warm(thing, "a")
        thing.set("a", value=f"uno {number}")
        assert thing.get("a") == f"uno {number}"


@pytest.mark.parametrize("change", ["invalidate", "set", "one tag", "the tag of all"])
def test_another_processs_change_is_seen_once_redis_has_told_of_it(thing, rows, change):
    theirs = rows.declare(strategy=CacheAside())
    tracked(theirs)
    warm(thing, "a")
    rows["a"] = "uno"
    match change:
        case "invalidate":
            theirs.invalidate("a")
        case "set":
            theirs.set("a", value="uno")
        case "one tag":
            theirs.invalidate_tag("key:{key}", key="a")
        case _:
            theirs.invalidate_tag("all")
    assert tracker.wait(SECONDS)
    assert thing.get("a") == "uno"


def test_another_processs_change_is_seen_within_the_stated_time_though_nothing_is_told(thing, rows, redis_server):
    """Redis stands still: no message comes, and what was held is not served past the lease."""
    warm(thing, "a")
    rows["a"] = "uno"
    redis_server.pause()
    began = time.monotonic()
    try:
        while thing.get("a") == "one":
            assert time.monotonic() - began < MAX_STALENESS + 2  # the database's answer, after Redis's timeout
        assert held(thing) is MISSING
    finally:
        redis_server.resume()


def test_without_redis_the_tier_is_empty_and_the_database_answers(thing, rows, redis_server):
    warm(thing, "a")
    rows["a"] = "uno"
    redis_server.kill()
    began = time.monotonic()
    while thing.get("a") == "one":
        assert time.monotonic() - began < MAX_STALENESS
    assert thing.get("a") == "uno"


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_the_tier_is_passed_by(thing, rows):
    warm(thing, "a")
    with transaction.atomic():
        rows["a"] = "uncommitted"
        assert thing.get("a") == "uncommitted"
        assert thing.get_many(["a"]) == {"a": "uncommitted"}
        thing.invalidate("a")
        assert held(thing) == "one"
    assert held(thing) is MISSING


def test_a_value_is_held_no_longer_than_it_is_fresh(rows):
    thing = rows.declare(ttl=1.0, jitter=0.0)
    tracked(thing)
    warm(thing, "a")
    rows["a"] = "uno"
    warmed = asked = time.monotonic()
    while thing.get("a") == "one":
        assert asked - warmed < 1.1  # when it was asked, not when the test went on
        asked = time.monotonic()


def test_a_tag_that_two_things_share_empties_both_tiers_at_once(thing, rows, monkeypatch):
    other = Cached("others", "{key}", rows.load, ttl=60, type=str, tags=["all"], local=(10, 1000))
    tracked(other)
    warm(thing, "a")
    warm(other, "a")
    rows["a"] = "uno"
    monkeypatch.setattr(tracking._Follower, "_hand_on", lambda self, keys: None)  # Redis's message comes late
    thing.invalidate_tag("all")
    assert (thing.get("a"), other.get("a")) == ("uno", "uno")
