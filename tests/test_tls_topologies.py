"""Sentinel and Cluster over TLS: every link is, also those to the Sentinels and of the channel layer."""

from collections.abc import Iterator

import pytest
from django.core.cache import caches

from intellicolab.cache.local import MISSING, LocalTier
from intellicolab.cache.tracking import Tracker
from intellicolab.layers import ChannelLayer
from intellicolab.redis.client import Role, aclose, async_client, client, primaries
from intellicolab.redis.lock import Lock

from .topologies import Nodes, Papers, Sentinels, redis7, settings_of, until

pytestmark = pytest.mark.slow

MANY = {f"key{number}": number for number in range(60)}


@pytest.fixture(scope="module", params=["sentinel", "cluster"])
def started(request) -> Iterator[Sentinels | Nodes]:
    binary, papers = redis7(), Papers()
    try:
        with Sentinels(papers) if request.param == "sentinel" else Nodes(binary, papers=papers) as made:
            yield made
    finally:
        papers.remove()


@pytest.fixture
def servers(settings, started) -> Iterator[Sentinels | Nodes]:
    with settings_of(settings, started.url, started.url):
        yield started


def test_clients_caches_and_locks_work(servers):
    assert {primary.transport for primary in primaries(Role.STATE)} == {"rediss"}
    caches["default"].set_many(MANY, 60)
    assert caches["default"].get_many(MANY) == MANY
    with Lock("reports", lease=5) as grant:
        grant.check()
    assert client(Role.STATE).ping()


async def test_asynchronous_clients_work(servers):
    state = async_client(Role.STATE)
    for name in MANY:
        await state.set(name, 1)
    assert await state.mget(list(MANY)) == [b"1"] * len(MANY)
    async with Lock("reports", lease=5) as grant:
        grant.check()
    await aclose()


async def test_the_channel_layer_works(servers):
    layer = ChannelLayer(hosts=[{"address": servers.url, "socket_timeout": 1.0, "socket_connect_timeout": 1.0}])
    channel = await layer.new_channel()
    await layer.group_add("room.1", channel)
    await layer.group_send("room.1", {"type": "hello"})
    assert await layer.receive(channel) == {"type": "hello"}
    await layer.flush()


def test_the_local_tier_is_told(servers):
    tracker = Tracker()
    tier: LocalTier[str] = LocalTier(["ic:cache:{room:"], 100, 10_000, tracker=tracker)
    try:
        assert tracker.wait(10)
        ticket = tier.begin("ic:cache:{room:1}")
        assert ticket is not None
        assert tier.put(ticket, "old", 1, 1e12)
        client(Role.CACHE).set("ic:cache:{room:1}", "new")
        until(lambda: tier.get("ic:cache:{room:1}") is MISSING)
    finally:
        tracker.close()
