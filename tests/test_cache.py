"""Cached things: one loader at a time, no old value after an invalidation, harmless without Redis."""

import asyncio
import inspect
import struct
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest
from django.db import connections, transaction

from intellicolab.cache import refresher as refreshing
from intellicolab.cache.declaration import Cached
from intellicolab.cache.effects import drive
from intellicolab.cache.envelope import opened
from intellicolab.cache.flights import flights
from intellicolab.cache.owed import Owed, forgetting
from intellicolab.cache.strategies import CacheAside, RefreshAhead
from intellicolab.redis import keys
from intellicolab.redis.client import Role
from intellicolab.redis.client import client as redis_client
from intellicolab.redis.counters import counters, totals
from intellicolab.threads import run as run_in_thread

TTL = 60


class Source:
    """The database of these tests: rows by key, how often each was loaded, and what happens during a load."""

    def __init__(self, **rows):
        self.rows = rows
        self.loads: Counter[str] = Counter()
        self.calls = 0
        self.during = lambda: None

    def load(self, key: str) -> str | None:
        return self.load_many([key]).get(key)

    def load_many(self, wanted):
        self.calls += 1
        self.loads.update(wanted)
        rows = {key: self.rows[key] for key in wanted if key in self.rows}
        during, self.during = self.during, lambda: None
        during()
        return rows


async def in_thread(function, *arguments, **named):
    """In a thread that leaves no database connection behind."""

    def call():
        try:
            return function(*arguments, **named)
        finally:
            connections.close_all()

    return await asyncio.to_thread(call)


class Sync:
    """A thing's operations as coroutines, so that each test runs on both forms."""

    def __init__(self, thing):
        self.thing = thing

    def __getattr__(self, name):
        async def call(*arguments, **named):
            return await in_thread(getattr(self.thing, name), *arguments, **named)

        return call


class Async(Sync):
    def __getattr__(self, name):
        return getattr(self.thing, f"a{name}")


@pytest.fixture(params=[Sync, Async])
def form(request, async_redis):
    return request.param


@pytest.fixture
def source():
    return Source(a="one", b="two")


@pytest.fixture
def declare(source):
    """Things of one test, taken out of the registry after it."""
    before = len(Cached.declared)

    def make(**options):
        return Cached("things", "{key}", source.load, many=source.load_many, **{"ttl": TTL, "type": str, **options})

    yield make
    del Cached.declared[before:]


@pytest.fixture
def thing(declare):
    return declare(strategy=CacheAside())


@pytest.fixture
def cache(form, thing):
    return form(thing)


@pytest.fixture
def background():
    """Wait for the refreshes begun so far."""

    def wait():
        deadline = time.monotonic() + 5
        while refreshing.refresher._names and time.monotonic() < deadline:
            time.sleep(0.005)
        assert not refreshing.refresher._names

    return wait


def name(key="a"):
    return keys.cached("things", key)


def raw(key="a"):
    data = redis_client(Role.CACHE).get(name(key))
    return None if data is None else opened(data).payload


def kept(key="a"):
    return redis_client(Role.CACHE).pttl(name(key)) / 1000


def age(key="a", seconds=0.0, load_time=None):
    """Have a stored value be as if it had been stored some seconds earlier, and had taken so long to load."""
    redis = redis_client(Role.CACHE)
    data = redis.get(name(key))
    left = redis.pttl(name(key)) - round(seconds * 1000)

    head = list(struct.unpack_from(">BBdf", data))
    head[2] -= seconds
    if load_time is not None:
        head[3] = load_time
    redis.set(name(key), struct.pack(">BBdf", *head) + data[14:], px=max(left, 1))


@pytest.mark.topology
async def test_a_miss_loads_and_stores_and_a_hit_loads_nothing(cache, source):
    assert [await cache.get("a") for _ in range(3)] == ["one"] * 3
    assert source.loads == {"a": 1}
    assert raw() == b'"one"'


@pytest.mark.topology
async def test_lifetimes_are_jittered_below_the_stated_one(declare, form):
    cache = form(declare(jitter=0.5))
    await cache.get_many([str(number) for number in range(40)])
    lives = {round(kept(str(number)), 1) for number in range(40)}
    assert max(lives) <= 30  # nothing is there: that has its own, shorter life
    cache = form(declare(jitter=0.5, none_ttl=TTL))
    await cache.invalidate("0")
    await cache.get_many([str(number) for number in range(100, 140)])
    lives = {round(kept(str(number)), 1) for number in range(100, 140)}
    assert TTL / 2 - 5 < min(lives) < max(lives) <= TTL
    assert len(lives) > 10


@pytest.mark.topology
async def test_that_there_is_nothing_is_cached_too_and_for_less_long(declare, form, source):
    cache = form(declare(none_ttl=5))
    assert [await cache.get("nobody") for _ in range(3)] == [None] * 3
    assert source.loads == {"nobody": 1}
    assert 0 < kept("nobody") <= 5


@pytest.mark.topology
async def test_an_invalidated_value_is_loaded_anew(cache, source):
    await cache.get("a")
    source.rows["a"] = "uno"
    assert await cache.get("a") == "one"
    await cache.invalidate("a")
    assert await cache.get("a") == "uno"


@pytest.mark.topology
async def test_a_refresh_loads_however_fresh_the_value_is(cache, source):
    await cache.get("a")
    source.rows["a"] = "uno"
    assert await cache.refresh("a") == "uno"
    assert await cache.get("a") == "uno"
    assert source.loads == {"a": 2}


@pytest.mark.topology
async def test_many_are_loaded_with_one_call_and_only_those_that_miss(cache, source):
    await cache.get("a")
    assert await cache.get_many(["b", "a", "nobody", "b"]) == {"b": "two", "a": "one", "nobody": None}
    assert source.loads == {"a": 1, "b": 1, "nobody": 1}
    assert source.calls == 2
    assert await cache.get_many([]) == {}


async def test_many_hits_cost_one_call(cache, redis_server):
    many = [f"key-{number}" for number in range(100)]
    await cache.get_many(many)
    redis_client(Role.CACHE).config_resetstat()
    assert await cache.get_many(many) == dict.fromkeys(many)
    calls = redis_client(Role.CACHE).info("commandstats")
    assert calls["cmdstat_mget"]["calls"] == 1
    assert not calls.keys() & {"cmdstat_get", "cmdstat_evalsha"}


@pytest.mark.topology
async def test_several_are_invalidated_together(cache, source):
    await cache.get_many(["a", "b"])
    source.rows.update(a="uno", b="due")
    await cache.invalidate_many(["a", "b"])
    assert await cache.get_many(["a", "b"]) == {"a": "uno", "b": "due"}


@pytest.mark.topology
async def test_a_value_can_be_set(cache, source):
    await cache.set("a", value="uno")
    assert await cache.get("a") == "uno"
    assert not source.loads


@pytest.mark.topology
async def test_names_made_of_any_text_never_meet(declare, form):
    seen = []

    def load(first: str, second: str):
        seen.append((first, second))
        return f"{first}|{second}"

    before = len(Cached.declared)
    cache = form(Cached("pairs", "{first}:{second}", load, ttl=TTL, type=str))
    pairs = [("a:b", "c"), ("a", "b:c"), ("a%3Ab", "c"), ("}", "{"), ("ä\n", ""), ("", "ä\n")]
    assert [await cache.get(*pair) for pair in pairs] == ["|".join(pair) for pair in pairs]
    assert await cache.get_many(pairs) == {pair: "|".join(pair) for pair in pairs}
    assert seen == pairs
    del Cached.declared[before:]


# --- Single flight -----------------------------------------------------------------------------------------------


@pytest.mark.topology
async def test_of_many_readers_one_loads_and_the_others_get_its_value(form, declare, source):
    cache = form(declare())
    source.during = lambda: time.sleep(0.2)
    assert await asyncio.gather(*(cache.get("a") for _ in range(30))) == ["one"] * 30
    assert source.loads == {"a": 1}


@pytest.mark.topology
async def test_threads_and_loops_share_a_flight(thing, source, async_redis):
    source.during = lambda: time.sleep(0.2)
    values = await asyncio.gather(*(asyncio.to_thread(thing.get, "a") if n % 2 else thing.aget("a") for n in range(10)))
    assert values == ["one"] * 10
    assert source.loads == {"a": 1}


@pytest.mark.topology
async def test_who_waits_for_another_process_is_woken_when_its_value_is_there(form, declare):
    """The other process is another declaration of the same thing: they share Redis and no flight in process."""
    loading, loads = threading.Event(), []

    def load(key: str):
        loads.append(key)
        loading.set()
        time.sleep(0.3)
        return "one"

    before = len(Cached.declared)
    theirs, ours = (Cached("things", "{key}", load, ttl=TTL, type=str, lease=4) for _ in range(2))
    other = threading.Thread(target=theirs.get, args=["a"])
    other.start()
    loading.wait(5)
    hide_local_flights()
    start = time.monotonic()
    assert await form(ours).get("a") == "one"
    assert time.monotonic() - start < 2  # woken, and not by the end of the lease
    other.join()
    assert loads == ["a"]
    del Cached.declared[before:]


def hide_local_flights():
    """As seen from another process, whose flights are not in this one's memory."""
    flights._loading.clear()


def wait_for_waiters(count):
    """For a loader: until so many others wait for what it loads, in threads or on event loops."""

    def waiting():
        futures = list(flights._loading.values())
        return sum(len(future._condition._waiters) + len(future._done_callbacks) for future in futures)

    deadline = time.monotonic() + 4  # within the lease
    while waiting() < count:
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.topology
async def test_a_loader_that_died_holds_the_others_up_no_longer_than_its_lease(form, declare, source):
    thing = declare(lease=0.5)
    redis_client(Role.CACHE).hset(keys.flight(name()), mapping={"token": "gone", "stamps": ""})
    redis_client(Role.CACHE).pexpire(keys.flight(name()), 500)
    start = time.monotonic()
    assert await form(thing).get("a") == "one"
    assert 0.3 < time.monotonic() - start < 2
    assert raw() == b'"one"'


@pytest.mark.topology
async def test_a_loaders_error_reaches_all_who_wait_and_the_next_reader_tries_again(form, declare, source):
    cache = form(declare())

    def fail():
        wait_for_waiters(4)
        raise LookupError("no database")

    source.during = fail
    results = await asyncio.gather(*(cache.get("a") for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 5
    assert source.loads == {"a": 1}
    assert await cache.get("a") == "one"


async def test_a_reader_that_is_cancelled_leaves_the_load_to_another(thing, source, async_redis):
    began = threading.Event()

    def slow():
        began.set()
        time.sleep(0.2)

    source.during = slow
    first = asyncio.create_task(thing.aget("a"))
    await run_in_thread(began.wait, 5)
    second = asyncio.create_task(thing.aget("a"))
    await asyncio.sleep(0.05)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    assert await asyncio.wait_for(second, 3) == "one"


# --- Invalidations that overtake a load ----------------------------------------------------------------------------


@pytest.mark.topology
async def test_an_old_value_overtaken_by_an_invalidation_is_never_stored(cache, thing, source):
    def change():  # the row was read; now an update commits and invalidates
        source.rows["a"] = "uno"
        thing.invalidate("a")

    source.during = change
    assert await cache.get("a") == "one"  # who read before the commit may see what was before it
    assert raw() is None
    assert await cache.get("a") == "uno"


@pytest.mark.topology
async def test_a_late_reader_cannot_overwrite_what_a_later_one_stored(cache, thing, source):
    def change():
        source.rows["a"] = "uno"
        thing.invalidate("a")
        assert thing.get("a") == "uno"  # another reader, between our load and our store

    source.during = change
    assert await cache.get("a") == "one"
    assert await cache.get("a") == "uno"
    assert source.loads == {"a": 2}


@pytest.mark.topology
async def test_a_reader_that_begins_after_an_invalidation_does_not_join_an_older_load(cache, thing, source):
    loading, go = threading.Event(), threading.Event()

    def wait():
        loading.set()
        go.wait(5)

    source.during = wait
    older = asyncio.create_task(asyncio.to_thread(thing.get, "a"))
    await asyncio.to_thread(loading.wait, 5)
    source.rows["a"] = "uno"
    await cache.invalidate("a")
    assert await cache.get("a") == "uno"
    go.set()
    assert await older == "one"
    assert await cache.get("a") == "uno"


@pytest.mark.topology
def test_readers_and_writers_in_a_race_end_with_the_last_write(thing, source):
    """Each writer changes the row and then invalidates; when all are done, no old value may be left."""
    stop = threading.Event()
    seen = []

    def read():
        while not stop.is_set():
            seen.append(thing.get("a"))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(300):
        source.rows["a"] = str(number)
        thing.invalidate("a")
        assert thing.get("a") == str(number)
    stop.set()
    for reader in readers:
        reader.join(10)
    assert seen
    assert thing.get("a") == "299"


# --- Tags ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tagged(form, source):
    before = len(Cached.declared)

    def load(team: int, person: str):
        return source.load(person)

    yield form(Cached("tagged", "{team}:{person}", load, ttl=TTL, type=str, tags=["team:{team}", "all"]))
    del Cached.declared[before:]


@pytest.mark.topology
async def test_an_invalidated_tag_takes_all_its_values_with_it_and_no_others(tagged, source):
    await tagged.get_many([(1, "a"), (1, "b"), (2, "a")])
    source.rows.update(a="uno", b="due")
    await tagged.invalidate_tag("team:{team}", team=1)
    assert await tagged.get_many([(1, "a"), (1, "b"), (2, "a")]) == {(1, "a"): "uno", (1, "b"): "due", (2, "a"): "one"}
    await tagged.invalidate_tag("all")
    assert await tagged.get(2, "a") == "uno"
    source.rows.clear()
    assert await tagged.get(2, "a") == "uno"


@pytest.mark.topology
async def test_a_load_overtaken_by_its_tags_invalidation_is_not_served_later(tagged, source):
    def change():
        source.rows["a"] = "uno"
        tagged.thing.invalidate_tag("team:{team}", team=1)
        assert tagged.thing.get(1, "a") == "uno"  # does not join the older load either

    source.during = change
    assert await tagged.get(1, "a") == "one"
    assert await tagged.get(1, "a") == "uno"


@pytest.mark.topology
async def test_an_evicted_tag_counts_as_invalidated(tagged, source):
    await tagged.get(1, "a")
    redis_client(Role.CACHE).delete(keys.tag("team:1"))
    source.rows["a"] = "uno"
    assert await tagged.get(1, "a") == "uno"


async def test_an_undeclared_tag_is_refused(tagged):
    with pytest.raises(ValueError, match=r"tagged has no tag 'people'; it has team:\{team\}, all\."):
        await tagged.invalidate_tag("people")


# --- Stale values and refresh-ahead ----------------------------------------------------------------------------------


@pytest.mark.topology
async def test_while_one_loads_an_expired_value_the_others_are_served_it(form, declare, source):
    cache = form(declare(strategy=CacheAside(stale=30)))
    await cache.get("a")
    age(seconds=TTL)
    source.rows["a"] = "uno"
    loading, go = threading.Event(), threading.Event()

    def wait():
        loading.set()
        go.wait(5)

    source.during = wait
    first = asyncio.create_task(cache.get("a"))
    await asyncio.to_thread(loading.wait, 5)
    assert await asyncio.wait_for(cache.get("a"), 3) == "one"
    assert not first.done()
    go.set()
    assert await first == "uno"
    assert await cache.get("a") == "uno"


@pytest.mark.topology
@pytest.mark.parametrize("strategy", [CacheAside(stale=30), RefreshAhead(stale=30)])
async def test_a_failing_loader_is_not_felt_while_the_value_may_be_stale(form, declare, source, strategy, background):
    cache = form(declare(strategy=strategy))
    await cache.get("a")
    age(seconds=TTL)

    def fail():
        raise LookupError("no database")

    source.during = fail
    assert await cache.get("a") == "one"
    background()
    age(seconds=31)
    source.during = fail
    redis_client(Role.CACHE).delete(keys.flight(name()))  # the pause after a failure is over
    while raw() is not None:
        await asyncio.sleep(0.005)
    with pytest.raises(LookupError):
        await cache.get("a")


@pytest.mark.topology
async def test_an_invalidation_leaves_nothing_stale(form, declare, source):
    cache = form(declare(strategy=RefreshAhead(stale=30)))
    await cache.get("a")
    source.rows["a"] = "uno"
    await cache.invalidate("a")
    assert await cache.get("a") == "uno"


@pytest.mark.topology
async def test_refresh_ahead_serves_the_value_and_loads_in_the_background(form, declare, source, background):
    cache = form(declare(strategy=RefreshAhead(stale=30)))
    await cache.get("a")
    age(seconds=TTL)
    source.rows["a"] = "uno"
    assert await cache.get("a") == "one"
    background()
    assert await cache.get("a") == "uno"
    assert source.loads == {"a": 2}


@pytest.mark.topology
async def test_early_refreshes_grow_likelier_with_the_load_time_and_towards_the_expiry(
    form, declare, source, background
):
    """XFetch: a read refreshes with probability exp(-time left / load time). Of 50 reads none does after a load of 2 s
    with 60 s left (but in one run of 10^11), nor after one of 3 ms with 6 s left; some do after one of 20 s."""
    cache = form(declare(strategy=RefreshAhead(stale=30), jitter=0.0))
    await cache.get("a")
    counters.flush()
    before = totals("cache").get("things:early", 0)
    for load_time, seconds in ((2.0, 0.0), (0.003, TTL - 6)):
        age(seconds=seconds, load_time=load_time)
        for _ in range(50):
            await cache.get("a")
        background()
        assert source.loads == {"a": 1}
    age(load_time=20.0)
    for _ in range(50):
        await cache.get("a")
    background()
    assert source.loads["a"] > 1
    counters.flush()
    assert totals("cache").get("things:early", 0) > before


@pytest.mark.topology
def test_processes_that_all_think_it_time_refresh_once(declare, source):
    """Refreshes of one process are one by its memory; those of several, run here as such, by the claim in Redis."""
    things = [declare(strategy=RefreshAhead(stale=30)) for _ in range(3)]
    things[0].get("a")
    age(seconds=TTL)
    data = redis_client(Role.CACHE).get(name())
    ours, meanwhile, afterwards = (drive_later(thing, data) for thing in things)
    source.during = meanwhile
    ours()
    afterwards()
    assert source.loads == {"a": 2}


def drive_later(thing, data):
    return lambda: drive(thing._engine._refresh(thing.place("a").saw(data)))


# --- Faults --------------------------------------------------------------------------------------------------------


@pytest.mark.topology
async def test_a_value_of_another_version_of_the_application_is_loaded_anew(cache, source):
    await cache.get("a")
    data = redis_client(Role.CACHE).get(name())
    for strange in (b"V1", b"", data[:14] + b'{"was": "an object"}', b"\x09" + data[1:]):
        redis_client(Role.CACHE).set(name(), strange)
        assert await cache.get("a") == "one"
        assert raw() == b'"one"'


async def test_without_redis_the_loader_answers(cache, source, redis_server):
    redis_server.kill()
    assert await cache.get("a") == "one"
    assert await cache.get_many(["a", "nobody"]) == {"a": "one", "nobody": None}
    assert await cache.refresh("a") == "one"
    await cache.invalidate("a")


async def test_redis_killed_under_readers_gives_the_databases_answers_and_comes_back_by_itself(
    cache, source, redis_server
):
    stop, values = threading.Event(), Counter()

    async def read():
        while not stop.is_set():
            values[await cache.get("a")] += 1

    async def without_the_database(reads):
        """Until so many reads in a row came from Redis."""
        loads, goal = -1, 0
        while source.loads["a"] != loads or values.total() < goal:
            if source.loads["a"] != loads:
                loads, goal = source.loads["a"], values.total() + reads
            await asyncio.sleep(0.01)

    readers = [asyncio.create_task(read()) for _ in range(4)]
    async with asyncio.timeout(20):
        await without_the_database(20)
        await asyncio.to_thread(redis_server.kill)
        meanwhile = source.loads["a"]
        while source.loads["a"] < meanwhile + 10:
            await asyncio.sleep(0.01)
        redis_server.start()
        await without_the_database(20)
    stop.set()
    await asyncio.gather(*readers)
    assert set(values) == {"one"}
    assert raw() == b'"one"'


async def test_a_frozen_redis_holds_up_one_reader_and_not_the_next(cache, redis_server):
    redis_server.pause()
    try:
        assert await cache.get("a") == "one"
        start = time.monotonic()
        assert await cache.get("a") == "one"
        assert time.monotonic() - start < 0.5
    finally:
        redis_server.resume()


async def test_an_invalidation_that_an_outage_prevented_is_made_up_for(cache, source, redis_server):
    await cache.get("a")
    redis_server.kill()
    source.rows["a"] = "uno"
    await cache.invalidate("a")
    redis_server.start()
    assert await cache.get("a") == "uno"
    deadline = time.monotonic() + 5
    while raw() != b'"uno"':  # the thread that makes up for it, too, may have taken away what this read has stored
        assert time.monotonic() < deadline
        assert await cache.get("a") == "uno"


async def test_an_owed_invalidation_is_done_though_nobody_reads_here(cache, source, redis_server):
    """Another process may have had its link to Redis all the time, and serves the old value until this is done."""
    await cache.get("a")
    redis_server.kill()
    await cache.invalidate("a")
    redis_server.start()
    deadline = time.monotonic() + 5
    while raw() is not None and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    assert raw() is None


def test_a_process_that_ends_makes_a_last_try(redis_server):
    """A command that met a server too slow to answer would else leave the old value for its whole time to live."""
    redis_client(Role.CACHE).set(name(), "old")
    late = Owed()
    late.add([forgetting(name())])
    late.close()
    assert redis_client(Role.CACHE).get(name()) is None


def test_what_a_process_could_not_make_up_for_is_logged_at_its_end(redis_server, caplog):
    redis_server.kill()
    late = Owed()
    late.add([forgetting(name())])
    late.close()
    assert "1 invalidations could not be made" in caplog.text
    redis_server.start()
    late.close()
    assert not late


# --- Statistics ------------------------------------------------------------------------------------------------------


@pytest.mark.topology
async def test_every_read_counts_as_one_of_hit_miss_and_stale(form, declare, source, background):
    counters.flush()
    before = Counter(totals("cache"))
    cache = form(declare(strategy=RefreshAhead(stale=30)))
    await cache.get("a")
    await cache.get_many(["a", "b"])
    await cache.get("a")
    age(seconds=TTL)
    await cache.get("a")
    background()
    source.during = lambda: wait_for_waiters(4)
    await asyncio.gather(*(cache.get("c") for _ in range(5)))
    counters.flush()
    counted = {
        field.partition(":")[2]: number
        for field, number in (Counter(totals("cache")) - before).items()
        if field.startswith("things:") and "load" not in field
    }
    assert counted == {"hit": 2, "miss": 7, "stale": 1, "coalesced": 4}


@pytest.mark.topology
async def test_load_times_are_counted_by_size(form, declare, source):
    counters.flush()
    before = Counter(totals("cache"))
    source.during = lambda: time.sleep(0.06)
    await form(declare()).get("a")
    counters.flush()
    counted = Counter(totals("cache")) - before
    assert counted["things:loads"] == 1
    assert counted["things:load_ms_100"] == 1
    assert 60_000 <= counted["things:load_us"] < 100_000


async def test_errors_are_counted(cache, redis_server):
    counters.flush()
    before = totals("cache").get("things:error", 0)
    redis_server.kill()
    await cache.get("a")
    redis_server.start()
    counters.flush()
    assert totals("cache")["things:error"] == before + 1


# --- Transactions ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.database
def test_inside_a_transaction_the_cache_is_passed_by(thing, source):
    with transaction.atomic():
        thing.get("a")
        source.rows["a"] = "uncommitted"
        assert thing.get("a") == "uncommitted"
        assert thing.get_many(["a", "b"]) == {"a": "uncommitted", "b": "two"}
    assert raw() is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.database
def test_an_invalidation_waits_for_the_commit_and_a_rollback_makes_none(thing, source):
    thing.get("a")
    with transaction.atomic():
        thing.invalidate("a")
        assert raw() == b'"one"'
    assert raw() is None
    thing.get("a")
    with transaction.atomic():
        thing.invalidate("a")
        thing.set("b", value="never")
        transaction.set_rollback(True)
    assert raw() == b'"one"'
    assert raw("b") is None


def test_sync_and_async_forms_take_the_same_arguments():
    for name_ in ("get", "get_many", "set", "add", "invalidate", "invalidate_many", "invalidate_tag", "refresh"):
        sync, asynchronous = getattr(Cached, name_), getattr(Cached, f"a{name_}")
        assert list(inspect.signature(sync).parameters) == list(inspect.signature(asynchronous).parameters)
