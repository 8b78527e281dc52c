"""The channel layer on every topology, and what becomes of its rooms when a server dies."""

import asyncio
import contextlib
import time

import pytest
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from intellicolab.layers import ChannelLayer, Ring

from .topologies import Nodes, Sentinels, valkey

pytestmark = pytest.mark.topology

HEALED = 12.0  # seconds; a Sentinel's or Cluster's failover is the greatest part


def layer_at(url: str) -> ChannelLayer:
    host = {"address": url, "socket_timeout": 1.0, "socket_connect_timeout": 1.0, "health_check_interval": 5}
    return ChannelLayer(hosts=[host], prefix="ic:layer")


async def test_what_is_sent_to_a_group_reaches_its_channels():
    layer = get_channel_layer()
    try:
        assert await reaches(layer, layer, await member_of(layer, "room.1")) < HEALED
    finally:
        await layer.flush()


@pytest.mark.slow
async def test_a_group_hears_again_when_its_cluster_node_dies():
    with Nodes(valkey()) as nodes:
        receiver, sender = layer_at(nodes.url), layer_at(nodes.url)
        channel = await member_of(receiver, "room.1")
        await reaches(sender, receiver, channel)
        node_of(receiver, nodes).kill()
        assert await reaches(sender, receiver, channel) < HEALED
        await asyncio.gather(receiver.flush(), sender.flush())


@pytest.mark.slow
async def test_a_group_hears_again_after_a_sentinel_failover():
    with Sentinels() as servers:
        receiver, sender = layer_at(servers.url), layer_at(servers.url)
        channel = await member_of(receiver, "room.1")
        await reaches(sender, receiver, channel)
        servers.primary.kill()
        assert await reaches(sender, receiver, channel) < HEALED
        await asyncio.gather(receiver.flush(), sender.flush())


def test_a_ring_goes_round_and_learns_of_nodes_that_join():
    ring = Ring([("a", 1), ("b", 1)])
    assert {ring.next(), ring.next()} == {("a", 1), ("b", 1)}
    ring.learn([("a", 1), ("c", 1)])
    assert ring.next() == ("c", 1)
    assert len(ring) == 3
    for moved in range(2, 100):  # where each start gives a node another address
        ring.learn([("a", 1), ("c", moved)])
    assert {ring.next() for _ in range(len(ring))} == {("a", 1), ("b", 1), ("c", 99)}


async def member_of(layer: ChannelLayer, group: str) -> str:
    channel = await layer.new_channel()
    await layer.group_add(group, channel)
    return channel


async def reaches(sender: ChannelLayer, receiver: ChannelLayer, channel: str) -> float:
    """Send until one arrives; the seconds that it took. What is published meanwhile may be lost: it is at most once."""
    began = time.monotonic()
    waiting = asyncio.ensure_future(receiver.receive(channel))
    while not waiting.done():
        assert time.monotonic() - began < 30, "nothing reaches the group any more"
        with contextlib.suppress(OSError, RedisError):
            await sender.group_send("room.1", {"type": "hello"})
        await asyncio.wait([waiting], timeout=0.1)
    assert waiting.result() == {"type": "hello"}
    return time.monotonic() - began


def node_of(layer: ChannelLayer, nodes: Nodes):
    """The node that the subscriber's connection is to."""
    connection = layer._get_layer()._shards[0]._pubsub.connection
    return next(server for server in nodes.servers if server.port.number == connection.port)
