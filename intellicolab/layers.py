"""The channel layer on every topology: channels-redis' pub/sub layer with a connection of our own.

channels-redis pins one address, so its rooms fall silent when that server is gone for good. Here each connection that
is made goes to the primary that the Sentinels name, or to the next live node of a Cluster (a plain PUBLISH reaches
subscribers on all of them), and redis-py subscribes there to what was subscribed to before.
"""

import asyncio
import random
from collections.abc import Iterable
from typing import Any

import redis.asyncio
from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer, RedisSingleShardConnection
from channels_redis.utils import _wrap_close
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .redis import addresses, sentinel
from .redis.addresses import Kind
from .redis.connections import ASYNC_CLASSES, AsyncConnection, AsyncSSLConnection, Links


class ChannelLayer(RedisPubSubChannelLayer):
    """`CONFIG["hosts"]` is one dictionary: an `address` in any form of ours, and options for its connections."""

    def _get_layer(self) -> "LoopLayer":
        loop = asyncio.get_running_loop()
        layer = self._layers.get(loop)
        if layer is None:
            layer = self._layers[loop] = LoopLayer(*self._args, **self._kwargs, channel_layer=self)
            _wrap_close(self, loop)
        return layer


class LoopLayer(RedisPubSubLoopLayer):
    def __init__(self, hosts: list[dict[str, Any]], **kwargs: Any) -> None:
        super().__init__(hosts=hosts, **kwargs)
        self._shards = [Shard(host, self) for host in hosts]


class Shard(RedisSingleShardConnection):
    """One pool for publishing and one subscriber. Nothing is sent again: a lost frame heals from the database."""

    _redis: redis.asyncio.Redis | None
    _pubsub: Any

    def _ensure_redis(self) -> None:
        if self._redis is None:
            self._redis = redis.asyncio.Redis(connection_pool=_pool(dict(self.host)))
            self._pubsub = self._redis.pubsub()

    async def flush(self) -> None:
        made = self._redis
        await super().flush()
        if made is not None:
            await sentinel.aclose(made.connection_pool)


def _pool(host: dict[str, Any]) -> redis.asyncio.ConnectionPool:
    url = host.pop("address")
    address, links = addresses.parse(url), Links("layer", addresses.safe_url(url))
    options = {**host, **address.options, "link": links.all}
    if address.kind is Kind.SENTINEL:
        return sentinel.async_pool(address, options)
    connection_class = ASYNC_CLASSES[address.transport]
    if address.kind is Kind.CLUSTER:
        connection_class = _RING_CLASSES[address.transport]
        options["ring"] = Ring(address.nodes)
    retry = Retry(NoBackoff(), 0)
    return redis.asyncio.ConnectionPool(connection_class=connection_class, retry=retry, **options)


class Ring:
    """The nodes of a Cluster in a fixed order that each process begins elsewhere, so that they share the load."""

    def __init__(self, nodes: Iterable[tuple[str, int]]) -> None:
        self._given = frozenset(nodes)
        self._nodes = list(self._given)
        random.shuffle(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def next(self) -> tuple[str, int]:
        """The node to try now; it goes to the end, so that a connection lost is made elsewhere."""
        self._nodes.append(self._nodes.pop(0))
        return self._nodes[-1]

    def learn(self, nodes: Iterable[tuple[str, int]]) -> None:
        """The Cluster's nodes of now. Those that joined come first; of those that left, the ones we were given stay."""
        members = list(dict.fromkeys(nodes))
        staying = [node for node in self._nodes if node in self._given or node in members]
        self._nodes = [node for node in members if node not in staying] + staying


class _OnRing:
    """Mixed into a connection class: connects to the next node that answers, and asks it for the others."""

    host: str
    port: int
    is_connected: bool

    def __init__(self, *, ring: Ring, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._ring = ring

    async def connect(self) -> None:
        if self.is_connected:
            return
        for left in reversed(range(len(self._ring))):
            self.host, self.port = self._ring.next()
            try:
                await super().connect()  # type: ignore[misc]
            except (RedisError, OSError):
                if not left:
                    raise
            else:
                return

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        await super().on_connect_check_health(check_health)  # type: ignore[misc]
        connection: Any = self
        await connection.send_command("CLUSTER", "SLOTS")
        shards = await connection.read_response()
        # An empty host is the one that was asked (cluster-preferred-endpoint-type unknown-endpoint).
        self._ring.learn(
            ((host or self.host.encode()).decode(), int(port)) for shard in shards for host, port, *_ in shard[2:]
        )


class RingConnection(_OnRing, AsyncConnection):
    pass


class RingSSLConnection(_OnRing, AsyncSSLConnection):
    pass


_RING_CLASSES: dict[str, type] = {"redis": RingConnection, "rediss": RingSSLConnection}
