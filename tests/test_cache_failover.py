"""Cached things and locks while a primary dies under traffic: the database answers, and nothing has to be restarted."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from redis.cluster import key_slot

from intellicolab.cache.declaration import Cached
from intellicolab.cache.strategies import CacheAside, RefreshAhead, Strategy
from intellicolab.redis import keys
from intellicolab.redis.client import aclose
from intellicolab.redis.lock import Lock, LockError

from .topologies import SLOTS, Nodes, Sentinels, Server, settings_of, until, valkey

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

KEYS = [f"key-{number}" for number in range(30)]  # on every node of a Cluster
LONGEST = 6.0  # seconds that one read may take meanwhile
HEALED = 20.0


class Rows(dict[str, str]):
    """The database, and how often it was asked."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(KEYS, "old"))
        self.loads = 0

    def load(self, key: str) -> str | None:
        return self.load_many([key]).get(key)

    def load_many(self, wanted) -> dict[str, str]:
        self.loads += 1
        return {key: self[key] for key in wanted}


class Readers:
    """Two threads and a loop that read everything again and again."""

    def __init__(self, thing: Cached[str]) -> None:
        self.thing = thing
        self.stop = threading.Event()
        self.reads, self.slowest = 0, 0.0
        self.values: set[str | None] = set()
        self.errors: list[Exception] = []
        runs: list[Callable[[], None]] = [self.read, self.read, lambda: asyncio.run(self.aread())]
        self.threads = [threading.Thread(target=run) for run in runs]

    def __enter__(self) -> "Readers":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(30)

    def note(self, began: float, values: dict[str, str | None]) -> None:
        self.reads += 1
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.values |= set(values.values())

    def read(self) -> None:
        while not self.stop.wait(0.005):
            began = time.monotonic()
            try:
                self.note(began, self.thing.get_many(KEYS))
            except Exception as error:  # whatever a reader meets is what this looks for
                self.errors.append(error)

    async def aread(self) -> None:
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                self.note(began, await self.thing.aget_many(KEYS))
            except Exception as error:
                self.errors.append(error)
            await asyncio.sleep(0.005)
        await aclose()


@pytest.fixture(params=["sentinel", "cluster"])
def servers(request, settings) -> Iterator[Sentinels | Nodes]:
    made = Sentinels() if request.param == "sentinel" else Nodes(valkey(), replicas=1)
    try:
        made.start()
        with settings_of(settings, made.url, made.url):
            yield made
    finally:
        for server in made.servers:
            server.stop()


@pytest.mark.parametrize("strategy", [CacheAside(), RefreshAhead(stale=30)], ids=lambda strategy: strategy.name)
def test_readers_get_the_databases_answers_through_a_failover_and_the_cache_works_again(servers, strategy: Strategy):
    rows = Rows()
    thing = Cached("things", "{key}", rows.load, many=rows.load_many, ttl=60, type=str, strategy=strategy)
    del Cached.declared[-1]
    with Readers(thing) as readers:
        until(lambda: readers.reads > 20)
        before = rows.loads
        primary_of(servers, keys.cached("things", KEYS[0])).kill()
        until(lambda: rows.loads > before, what="the failure is felt")
        until(lambda: is_cached(readers, rows), HEALED, "reads are hits again")
        rows[KEYS[0]] = "new"
        thing.invalidate(KEYS[0])
        assert thing.get(KEYS[0]) == "new"
    assert readers.errors == []
    assert readers.values <= {"old", "new"}
    assert readers.slowest < LONGEST


def test_fencing_numbers_rise_through_a_failover(servers):
    with Lock("reports", lease=1) as first:
        pass
    primary_of(servers, keys.lock("reports")).kill()
    numbers: list[int] = []

    def taken() -> bool:
        with suppress(LockError), Lock("reports", lease=1, wait=0.5) as grant:
            numbers.append(grant.fence)
        return bool(numbers)

    until(taken, HEALED, "the lock can be had again")
    assert numbers[0] > first.fence


def primary_of(servers: Sentinels | Nodes, key: str) -> Server:
    if isinstance(servers, Sentinels):
        return servers.primary
    return servers.primaries[key_slot(key.encode()) * len(servers.primaries) // SLOTS]


def is_cached(readers: Readers, rows: Rows) -> bool:
    """Whether some reads go by without a load."""
    reads, loads = readers.reads, rows.loads
    until(lambda: readers.reads > reads + 30)
    return rows.loads == loads
