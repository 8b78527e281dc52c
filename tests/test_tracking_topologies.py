"""The local tier on a Cluster and behind Sentinels, while primaries change."""

import time
from collections.abc import Iterator

import pytest

from intellicolab.cache.local import MISSING, LocalTier
from intellicolab.cache.tracking import MAX_STALENESS, Tracker
from intellicolab.redis.client import Role, client, close

from .topologies import Nodes, Sentinels, until, valkey

pytestmark = pytest.mark.slow

NAMES = [f"ic:cache:{{room:{number}}}" for number in range(60)]  # enough for some on every node


class Followed:
    """A tier on the servers that the cache role's address names."""

    def __init__(self) -> None:
        self.tracker = Tracker()
        self.tier: LocalTier[str] = LocalTier(["ic:cache:{room:"], 1000, 10_000, tracker=self.tracker)

    def caught_up(self) -> bool:
        return self.tracker.wait(10)

    def put(self, *names: str) -> None:
        for name in names:
            ticket = self.tier.begin(name)
            assert ticket is not None
            assert self.tier.put(ticket, "old", 1, time.monotonic() + 60)

    def is_served(self, *names: str) -> bool:
        return any(self.tier.get(name) is not MISSING for name in names)


@pytest.fixture
def cluster(settings) -> Iterator[Nodes]:
    nodes = Nodes(valkey(), replicas=1)
    try:
        nodes.start()
        yield from cache_at(settings, nodes)
    finally:
        for server in nodes.servers:
            server.stop()


@pytest.fixture
def sentinels(settings) -> Iterator[Sentinels]:
    with Sentinels() as servers:
        yield from cache_at(settings, servers)


def cache_at(settings, servers):
    before = settings.REDIS_URLS
    settings.REDIS_URLS = {**before, Role.CACHE: servers.url}
    close()
    yield servers
    settings.REDIS_URLS = before
    close()


@pytest.fixture
def followed() -> Iterator[Followed]:
    followed = Followed()
    assert followed.caught_up()
    yield followed
    followed.tracker.close()


def test_every_primary_of_a_cluster_tells_of_its_writes(cluster, followed):
    followed.put(*NAMES)
    for name in NAMES:
        client(Role.CACHE).set(name, "new")
    assert followed.caught_up()
    assert not followed.is_served(*NAMES)


def test_a_flush_of_one_node_empties_the_tier(cluster, followed):
    followed.put(*NAMES)
    cluster.primaries[1].run("FLUSHALL")
    assert followed.caught_up()
    assert not followed.is_served(*NAMES)


def test_a_slot_that_moves_leaves_nothing_stale(cluster, followed):
    source, target = cluster.primaries[0], cluster.primaries[1]
    name = next(name for name in NAMES if client(Role.CACHE).keyslot(name) < 5000)
    slot = client(Role.CACHE).keyslot(name)
    for node in (target, source):
        node.run("CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(target))
    client(Role.CACHE).set(name, "on its new node")
    assert followed.caught_up()
    followed.put(name)
    client(Role.CACHE).set(name, "new")
    assert followed.caught_up()
    assert not followed.is_served(name)


def test_a_replica_that_takes_over_is_followed_within_the_promised_time(cluster, followed):
    followed.put(*NAMES)
    cluster.replicas[0].run("CLUSTER", "FAILOVER", "TAKEOVER")
    until(lambda: all(cluster.replicas[0].name in primaries_that(node) for node in cluster.servers))
    agreed = time.monotonic()
    until(lambda: not followed.is_served(*NAMES))
    assert time.monotonic() < agreed + MAX_STALENESS
    assert followed.caught_up()
    followed.put(*NAMES)
    for name in NAMES:
        client(Role.CACHE).set(name, "new")
    assert followed.caught_up()
    assert not followed.is_served(*NAMES)


def test_a_primary_of_a_cluster_that_dies_empties_the_tier_until_its_replica_serves(cluster, followed):
    followed.put(*NAMES)
    cluster.primaries[0].kill()
    until(lambda: not followed.is_served(*NAMES), MAX_STALENESS)
    until(lambda: followed.tracker.wait(0.5))
    followed.put(*NAMES)


def test_after_a_failover_by_the_sentinels_the_new_primary_is_followed(sentinels, followed):
    followed.put(*NAMES)
    sentinels.primary.kill()
    until(lambda: not followed.is_served(*NAMES), MAX_STALENESS)
    until(lambda: followed.tracker.wait(0.5))
    followed.put(*NAMES)
    sentinels.replica.run("SET", NAMES[0], "new")
    assert followed.caught_up()
    assert not followed.is_served(NAMES[0])
    assert followed.is_served(NAMES[1])


def primaries_that(node) -> set[str]:
    """host:port of the primaries with slots, in the eyes of one node."""
    return {f"{primary[0]}:{primary[1]}" for _, _, primary, *_ in node.client.cluster("SLOTS")}
