"""Pools of connections to the primary that Sentinels name, asked anew for each connection that is made.

A failover needs no restart: the dead primary's connections break, the next ones are made to the promoted replica, and
a primary that was demoted refuses writes (READONLY), which drops its connection, too. Nothing is sent again.
"""

import copy
from collections.abc import Callable
from typing import Any

import redis.asyncio
from redis import sentinel
from redis.asyncio import sentinel as async_sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from .addresses import Address
from .connections import ASYNC_SENTINEL_CLASSES, SENTINEL_CLASSES

# What connections to the Sentinels have in common with those to the primary, unless the URL says otherwise.
_SHARED = ("socket_connect_timeout", "socket_keepalive")
_TLS = "ssl_"
READ_TIMEOUT = 0.5  # seconds; a Sentinel answers from memory, and the next one is asked after it


class Sentinels(sentinel.Sentinel):
    """redis-py's, which moves who answered to the front by swapping in place: two threads could lose one for good."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        ours = _with_a_list_of_its_own(self)
        found = super(Sentinels, ours).discover_master(service_name)
        self.sentinels = ours.sentinels
        return found


class AsyncSentinels(async_sentinel.Sentinel):
    """The same for two tasks: the place to swap is looked up before the wait for the answer."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        ours = _with_a_list_of_its_own(self)
        found = await super(AsyncSentinels, ours).discover_master(service_name)
        self.sentinels = ours.sentinels
        return found


def _with_a_list_of_its_own(sentinels: Any) -> Any:
    ours = copy.copy(sentinels)
    ours.sentinels = list(sentinels.sentinels)
    return ours


def pool(address: Address, options: dict[str, Any]) -> sentinel.SentinelConnectionPool:
    """Connections to the primary with the given options. Raises nothing: Sentinels are asked when one is made."""
    return sentinel.SentinelConnectionPool(
        address.service,
        Sentinels(address.nodes, sentinel_kwargs=_for_sentinels(address, options, Retry)),
        connection_class=SENTINEL_CLASSES[address.transport],
        retry=Retry(NoBackoff(), 0),
        **options,
    )


def async_pool(address: Address, options: dict[str, Any]) -> async_sentinel.SentinelConnectionPool:
    """The same for asyncio."""
    return async_sentinel.SentinelConnectionPool(
        address.service,
        AsyncSentinels(address.nodes, sentinel_kwargs=_for_sentinels(address, options, AsyncRetry)),
        connection_class=ASYNC_SENTINEL_CLASSES[address.transport],
        retry=AsyncRetry(NoBackoff(), 0),
        **options,
    )


async def aclose(pool: redis.asyncio.ConnectionPool) -> None:
    """Disconnect a pool and, where Sentinels lead it, the connections to them."""
    await pool.disconnect()
    if isinstance(pool, async_sentinel.SentinelConnectionPool):
        await pool.sentinel_manager.aclose()


def close(pool: redis.ConnectionPool) -> None:
    """Idle connections only: cut off in the middle of a command, redis-py raises what is no RedisError."""
    pool.disconnect(inuse_connections=False)
    if isinstance(pool, sentinel.SentinelConnectionPool):
        pool.sentinel_manager.close()


def _for_sentinels(address: Address, options: dict[str, Any], retry: Callable[..., Any]) -> dict[str, Any]:
    shared = {name: options[name] for name in _SHARED if name in options}
    if address.transport == "rediss":
        shared |= {name: value for name, value in options.items() if name.startswith(_TLS)} | {"ssl": True}
    timeout = min(READ_TIMEOUT, options.get("socket_timeout") or READ_TIMEOUT)
    return {"socket_timeout": timeout, "retry": retry(NoBackoff(), 0), **shared, **address.sentinel_options}
