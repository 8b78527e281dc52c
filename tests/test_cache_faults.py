"""What must not hold readers up, leak or mislead: cancelled readers, loaders that err, threads that run out, forks."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from intellicolab import threads
from intellicolab.cache import effects
from intellicolab.cache import owed as owing
from intellicolab.cache.crew import Circular
from intellicolab.cache.declaration import Cached
from intellicolab.cache.envelope import opened
from intellicolab.cache.flights import flights
from intellicolab.cache.owed import forgetting, owed
from intellicolab.cache.strategies import CacheAside, RefreshAhead
from intellicolab.redis import keys
from intellicolab.redis.client import MAX_CONNECTIONS, Role, client
from intellicolab.redis.counters import counters, totals

from .cache_model import LEASE, World

pytestmark = pytest.mark.topology

VALUE = keys.cached("things", "a")


@pytest.fixture
def declare():
    before = len(Cached.declared)

    def make(load, **options):
        return Cached("things", "{key}", load, **{"ttl": 60, "type": str, **options})

    yield make
    del Cached.declared[before:]


def constant(key: str) -> str:
    return "one"


def in_threads(*functions):
    running = [threading.Thread(target=function) for function in functions]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("carried_out", [False, True])
@pytest.mark.parametrize("strategy", [CacheAside(), CacheAside(stale=30)], ids=["plain", "stale"])
def test_a_reader_cancelled_at_any_step_leaves_nothing_that_others_wait_for(carried_out, strategy):
    for steps in range(8):
        world = World(strategy)
        action = world.read(world.processes[0], [1, 2])
        for _ in range(steps):
            if not action.is_over:
                world.step(action)
        if action.is_over:
            return
        world.fail(action, asyncio.CancelledError(), carried_out)
        world._finish()
        assert world.redis.keys("ic:flight:*") == []
        world.quiesce()
        world.close()
    raise AssertionError("a read has fewer steps")


def test_a_value_that_cannot_be_encoded_is_the_loaders_error_and_holds_nobody_up(declare):
    thing = declare(lambda key: object(), type=str)
    for _ in range(2):
        start = time.monotonic()
        with pytest.raises(TypeError, match="unsupported"):
            thing.get("a")
        assert time.monotonic() - start < LEASE / 2
    assert client(Role.CACHE).keys("ic:flight:*") == []


def test_a_loader_that_asks_for_what_it_loads_is_told_so_at_once(declare):
    things: list[Cached[str]] = []

    def load(key: str) -> str | None:
        return things[0].get(key)

    things.append(declare(load))
    start = time.monotonic()
    with pytest.raises(Circular, match=r"The loader of ic:cache:\{things:a\} asks for what it is loading\."):
        things[0].get("a")
    assert time.monotonic() - start < LEASE / 2


async def test_an_asynchronous_readers_loader_is_told_as_well(declare, async_redis):
    things: list[Cached[str]] = []
    things.append(declare(lambda key: things[0].get(key)))
    with pytest.raises(Circular):
        await asyncio.wait_for(things[0].aget("a"), LEASE / 2)


def test_a_loader_may_ask_for_other_things(declare):
    part = declare(constant)
    whole = Cached("wholes", "{key}", lambda key: f"{part.get(key)} and {part.get('b')}", ttl=60, type=str)
    assert whole.get("a") == "one and one"


async def test_worker_threads_that_all_wait_for_a_load_do_not_keep_it_from_a_thread(declare, async_redis):
    """The load of an event loop's reader waits for a thread, and all threads, requests perhaps, wait for that load."""
    thing = declare(constant)
    busy, go = threading.Barrier(threads.THREADS + 1), threading.Event()

    def request():
        busy.wait(5)
        go.wait(5)
        return thing.get("a")

    requests = [threads.submit(request) for _ in range(threads.THREADS)]
    await asyncio.to_thread(busy.wait, 5)
    reader = asyncio.create_task(thing.aget("a"))
    while not client(Role.CACHE).exists(keys.flight(VALUE)):
        await asyncio.sleep(0.001)
    start = time.monotonic()
    go.set()
    assert await asyncio.gather(reader, *map(asyncio.wrap_future, requests)) == ["one"] * (threads.THREADS + 1)
    assert time.monotonic() - start < LEASE / 2


async def test_what_a_loader_waits_for_a_thread_is_not_its_load_time(declare, async_redis):
    """Early refreshes are drawn by it: a busy process must not take its loaders for slow ones."""
    thing = declare(constant)
    go = threading.Event()
    requests = [threads.submit(go.wait, 5) for _ in range(threads.THREADS)]
    reader = asyncio.create_task(thing.aget("a"))
    while not client(Role.CACHE).exists(keys.flight(VALUE)):
        await asyncio.sleep(0.001)
    waited = 1.0
    await asyncio.sleep(waited)
    go.set()
    assert await reader == "one"
    await asyncio.gather(*map(asyncio.wrap_future, requests))
    assert opened(client(Role.CACHE).get(VALUE)).load_time < waited / 2


def test_a_loaders_timeout_is_an_error_like_others_for_who_waits(declare):
    loads, errors, begun = [], [], threading.Barrier(4)

    def load(key: str) -> str:
        loads.append(key)
        time.sleep(0.5)  # the others have begun, and now have this long to get to the wait
        raise TimeoutError("the database is slow")

    thing = declare(load)

    def read():
        begun.wait(5)
        with pytest.raises(TimeoutError, match="slow") as raised:
            thing.get("a")
        errors.append(raised.value)

    in_threads(*[read] * 4)
    assert len(errors) == 4
    assert loads == ["a"]


async def test_thousands_of_reads_that_fail_or_are_cancelled_leave_nothing_in_memory(declare, async_redis):
    before = (len(flights._loading), len(flights._listening))

    def fail(key: str) -> str:
        raise LookupError(key)

    thing = declare(fail)
    for start in range(0, 2000, 100):
        reads = [asyncio.create_task(thing.aget(str(number))) for number in range(start, start + 100)]
        await asyncio.sleep(0.001)
        for read in reads[::2]:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
    assert (len(flights._loading), len(flights._listening)) == before


@pytest.mark.parametrize("damaged", [b'"\xff"', b"[" * 10_000], ids=["no UTF-8", "nested"])
def test_damaged_bytes_of_any_kind_are_loaded_anew(declare, damaged):
    thing = declare(constant, type=object)
    thing.get("a")
    stored = client(Role.CACHE).get(VALUE)
    client(Role.CACHE).set(VALUE, stored[:14] + damaged)
    assert thing.get("a") == "one"
    assert client(Role.CACHE).get(VALUE)[14:] == b'"one"'


def test_much_that_is_owed_is_done_in_bounded_batches(monkeypatch):
    monkeypatch.setattr(owing, "BATCH", 10)
    names = [keys.cached("things", number) for number in range(35)]
    for name in names:
        client(Role.CACHE).set(name, "x")
    sizes = []
    operation = owed.settle()
    owed._calls.update({(name,): forgetting(name) for name in names})
    try:
        effect = next(operation)
        while True:
            sizes.append(len(effect.calls))
            effect = operation.send([1] * len(effect.calls))
    except StopIteration:
        assert sizes == [10, 10, 10, 5]
    assert not owed


def test_who_waits_for_another_process_when_redis_dies_asks_the_database(declare, redis_server):
    thing = declare(constant)
    redis = client(Role.CACHE)
    redis.hset(keys.flight(VALUE), mapping={"token": "theirs", "stamps": ""})
    redis.pexpire(keys.flight(VALUE), round(LEASE * 1000))
    values = []
    reader = threading.Thread(target=lambda: values.append(thing.get("a")))
    reader.start()
    while redis.hget(keys.flight(VALUE), "waiters") is None:
        time.sleep(0.005)
    redis_server.kill()
    reader.join(LEASE / 2)
    assert values == ["one"]


def test_every_read_is_counted_once_also_when_it_fails(declare):
    fails = threading.Event()

    def load(key: str) -> str:
        time.sleep(0.1)
        if fails.is_set():
            raise LookupError(key)
        return "one"

    def read(*wanted):
        try:
            thing.get_many(wanted)
        except LookupError:
            assert fails.is_set()

    thing = declare(load)
    counters.flush()
    before = Counter(totals("cache"))
    read("a", "b")
    fails.set()
    in_threads(*[lambda: read("a", "c", "d")] * 3)
    counters.flush()
    counted = Counter(totals("cache")) - before
    assert sum(counted[f"things:{outcome}"] for outcome in ("hit", "local", "stale", "miss")) == 2 + 3 * 3
    assert counted["things:hit"] == 3


FORK = """
import os, sys, threading, time
import django
django.setup()
from intellicolab.cache.declaration import Cached
from intellicolab.cache.refresher import refresher
from intellicolab.cache.strategies import RefreshAhead
done = threading.Event()
def job():
    done.set()
    return
    yield
def slow():
    time.sleep(60)
    return
    yield
for number in range(5):
    refresher.submit(f"slow {number}", slow)
child = os.fork()
if child == 0:
    refresher.submit("slow 1", job)
    os._exit(0 if done.wait(10) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_refreshes_and_the_end_of_a_process_waits_for_no_refresh():
    start = time.monotonic()
    run = subprocess.run([sys.executable, "-c", FORK], env={**os.environ}, timeout=50, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    assert time.monotonic() - start < 40


def test_a_refresh_that_cannot_be_stored_holds_nobody_up(declare, caplog):
    values = iter(["one", object()])
    thing = declare(lambda key: next(values), type=str, strategy=RefreshAhead(stale=30))
    assert thing.get("a") == "one"
    with pytest.raises(TypeError):
        thing.refresh("a")
    assert thing.get("a") == "one"
    assert client(Role.CACHE).keys("ic:flight:*") == []


def test_no_wait_for_a_flight_is_so_short_that_redis_takes_it_for_endless():
    for left in range(1, 5001):
        naps = list(effects._naps(left / 1000))
        assert min(naps) >= effects.SHORTEST_POP
        assert max(naps) <= effects.POP_SECONDS
        assert sum(naps) == pytest.approx(left / 1000, abs=0.0011)


async def test_hundreds_who_wait_for_other_processes_leave_connections_to_the_rest(declare, async_redis):
    """Each wait holds a connection; were there more waits than the pool has, it would refuse other readers as well."""
    loads: list[str] = []
    held = [str(number) for number in range(MAX_CONNECTIONS + 50)]
    thing = declare(lambda key: loads.append(key) or "one", lease=30)
    await thing.aget("a")
    redis = client(Role.CACHE)
    flights_held = [keys.flight(thing.name_of(key)) for key in held]
    for flight in flights_held:
        redis.hset(flight, mapping={"token": f"of {flight}", "stamps": ""})
        redis.pexpire(flight, 30_000)
    counters.flush()
    before = totals("cache").get("things:error", 0)
    readers = [asyncio.create_task(thing.aget(key)) for key in held]
    async with asyncio.timeout(10):
        while not all(redis.hexists(flight, "waiters") for flight in flights_held):
            await asyncio.sleep(0.01)
    assert await thing.aget("a") == "one"
    assert loads == ["a"]
    await thing.ainvalidate_many(held)
    assert await asyncio.gather(*readers) == ["one"] * len(held)
    counters.flush()
    assert totals("cache").get("things:error", 0) == before
