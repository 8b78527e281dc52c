"""The one module that builds Redis clients.

Two roles (`Role.STATE`, which must not be evicted, and `Role.CACHE`, which may) and four purposes. Clients share
one pool a role and purpose; async ones one a running event loop, because an asyncio connection belongs to its loop.
Whether one server, a Sentinel group or a Cluster answers, the address alone says (`addresses.py`).
No command is sent again: redis-py's default of ten retries writes twice after a timeout (redis-py#3554), and the pools
already replace a connection that the server has closed before they lend it.
"""

import asyncio
import threading
import weakref
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from . import addresses, direct, sentinel
from .addresses import Address, Kind, safe_url
from .cluster import AsyncCluster, Cluster
from .connections import ASYNC_CLASSES, SYNC_CLASSES, Links

__all__ = [
    "READ_TIMEOUT",
    "Primary",
    "Purpose",
    "Role",
    "aclose",
    "address_of",
    "async_client",
    "client",
    "close",
    "primaries",
    "reports",
    "safe_url",
]

CONNECT_TIMEOUT = 1.0  # seconds; a server on the same network answers within milliseconds or is down
MAX_CONNECTIONS = 200  # a pool; a runaway caller gets an error instead of exhausting the server's clients


class Role(StrEnum):
    STATE = "state"  # sessions, limits, streams, presence: never evicted
    CACHE = "cache"  # cached values: may be evicted


class Purpose(StrEnum):
    COMMAND = "command"
    FAST = "fast"  # a user waits on a decision that has a default: give up early
    BLOCKING = "blocking"  # BLOCK reads and subscriptions: silence is normal
    WAITING = "waiting"  # blocking reads of at most 10 s: silence is normal, but not for ever


# Seconds that a read may take. redis-py's own default of 5 s breaks blocking reads and makes users wait elsewhere.
READ_TIMEOUT: dict[Purpose, float | None] = {
    Purpose.COMMAND: 2.0,
    Purpose.FAST: 0.05,
    Purpose.BLOCKING: None,
    Purpose.WAITING: 12.0,
}

_lock = threading.Lock()
_links: dict[Role, Links] = {}
_clients: dict[tuple[Role, Purpose], redis.Redis] = {}
_async_clients: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict]" = weakref.WeakKeyDictionary()


def url_of(role: Role) -> str:
    return settings.REDIS_URLS[role]


def address_of(role: Role) -> Address:
    """Raises AddressError (an ImproperlyConfigured) when the role's URL is not a Redis address."""
    return addresses.parse(url_of(role))


def client(role: Role, purpose: Purpose = Purpose.COMMAND) -> redis.Redis:
    """The sync client of a role and purpose, on their shared pool; needs no closing.

    On a Cluster it is a `Cluster`, which offers the same commands. There, ConnectionError when no node answers.
    """
    return _clients.get((role, purpose)) or _made(role, purpose)


def async_client(role: Role, purpose: Purpose = Purpose.COMMAND) -> redis.asyncio.Redis:
    """The asyncio client of a role and purpose, on the running loop's pool. RuntimeError when no event loop runs."""
    clients = _async_clients.setdefault(asyncio.get_running_loop(), {})
    found = clients.get((role, purpose))
    if found is None:
        options = _options(role, purpose)
        found = clients[role, purpose] = _async_client(address_of(role), options, _links_of(role))
    return cast(redis.asyncio.Redis, found)


@dataclass(frozen=True, slots=True)
class Primary:
    """One server that takes a role's writes. `options` are a redis-py connection's and hold the password."""

    name: str  # host:port, or the path of the socket
    transport: str  # a key of SYNC_CLASSES
    options: dict[str, Any] = field(repr=False)

    def client(self, **options: Any) -> redis.Redis:
        """A client of this server alone, on a pool of its own that the caller closes; sends nothing again."""
        return _one(self.transport, {**self.options, **options})


def primaries(role: Role, purpose: Purpose = Purpose.COMMAND) -> list[Primary]:
    """The primaries of now, with the options of that purpose: one, or each of a Cluster's. Asks Sentinels or the
    Cluster, so RedisError when nobody answers; they may change at any later time."""
    address, made = address_of(role), client(role, purpose)
    options = {**_options(role, purpose), "link": _links_of(role).all}
    if address.kind is Kind.CLUSTER:
        return _nodes(address, options, made.execute_command("CLUSTER SLOTS"))
    if address.kind is Kind.SENTINEL:
        host, port = cast(Any, made.connection_pool).get_master_address()
        return [_primary(address, options, host, port)]
    return [_only(address, options)]


def reports(role: Role, section: str | None = None) -> list[dict[str, Any]]:
    """INFO of each primary of a role, through the shared client. Raises RedisError or OSError."""
    made = client(role)
    answer = made.info(section) if section else made.info()
    return list(answer.values()) if isinstance(made, Cluster) else [answer]


def close() -> None:
    """Disconnect every sync pool; called when the process ends and by tests that move the server.

    What other threads have under way runs to its end, on connections that nobody uses after it.
    """
    with _lock:
        for made in _clients.values():
            _disconnect(made)
        _clients.clear()
        _links.clear()


async def aclose() -> None:
    """Disconnect the running loop's async pools."""
    for made in _async_clients.pop(asyncio.get_running_loop(), {}).values():
        if isinstance(made, AsyncCluster):
            await made.aclose()
        else:
            await sentinel.aclose(made.connection_pool)


def _made(role: Role, purpose: Purpose) -> redis.Redis:
    """Made outside the lock: a Cluster's asks its nodes, and silent ones must not hold up who wants another's."""
    links = _links_of(role)
    made = _client(address_of(role), _options(role, purpose), links)
    with _lock:
        # Not kept when `close` came in between: it may be of a server that the settings no longer name.
        kept = _clients.setdefault((role, purpose), made) if _links.get(role) is links else made
    if kept is not made:  # another thread was quicker
        _disconnect(made)
    return kept


def _disconnect(made: redis.Redis) -> None:
    if isinstance(made, Cluster):
        made.disconnect_connection_pools()
    else:
        direct.close(made.connection_pool)
        sentinel.close(made.connection_pool)


def _links_of(role: Role) -> Links:
    return _links.get(role) or _links.setdefault(role, Links(role.value, safe_url(url_of(role))))


def _options(role: Role, purpose: Purpose) -> dict[str, Any]:
    """Of a connection pool; what the URL says goes first, but cuts no read short that waits on purpose."""
    defaults: dict[str, Any] = {
        "socket_connect_timeout": min(CONNECT_TIMEOUT, READ_TIMEOUT[purpose] or CONNECT_TIMEOUT),
        "socket_timeout": READ_TIMEOUT[purpose],
        "client_name": f"intellicolab-{role}-{purpose}",
        "max_connections": MAX_CONNECTIONS,
    }
    options = {**defaults, **address_of(role).options}
    if purpose in (Purpose.BLOCKING, Purpose.WAITING):
        options["socket_timeout"] = READ_TIMEOUT[purpose]
    return options


def _client(address: Address, options: dict[str, Any], links: Links) -> redis.Redis:
    if address.kind is Kind.CLUSTER:
        return cast(redis.Redis, Cluster(address, links, **options))
    if address.kind is Kind.SENTINEL:
        return redis.Redis(connection_pool=sentinel.pool(address, {**options, "link": links.all}))
    return _one(address.transport, {**options, "link": links.all})


def _async_client(address: Address, options: dict[str, Any], links: Links) -> redis.asyncio.Redis | AsyncCluster:
    if address.kind is Kind.CLUSTER:
        return AsyncCluster(address, links, **options)
    if address.kind is Kind.SENTINEL:
        return redis.asyncio.Redis(connection_pool=sentinel.async_pool(address, {**options, "link": links.all}))
    return _async_one(address.transport, {**options, "link": links.all})


def _one(transport: str, options: dict[str, Any]) -> redis.Redis:
    pool = redis.ConnectionPool(connection_class=SYNC_CLASSES[transport], retry=Retry(NoBackoff(), 0), **options)
    return redis.Redis(connection_pool=pool)


def _async_one(transport: str, options: dict[str, Any]) -> redis.asyncio.Redis:
    retry = AsyncRetry(NoBackoff(), 0)
    pool = redis.asyncio.ConnectionPool(connection_class=ASYNC_CLASSES[transport], retry=retry, **options)
    return redis.asyncio.Redis(connection_pool=pool)


def _only(address: Address, options: dict[str, Any]) -> Primary:
    name = address.path or ":".join(map(str, address.nodes[0]))
    return Primary(name, address.transport, options)


def _nodes(address: Address, options: dict[str, Any], slots: dict[Any, dict[str, Any]]) -> list[Primary]:
    found = {(shard["primary"][0], shard["primary"][1]) for shard in slots.values()}
    return [_primary(address, options, host, int(port)) for host, port in sorted(found)]


def _primary(address: Address, options: dict[str, Any], host: str, port: int) -> Primary:
    return Primary(f"{host}:{port}", address.transport, {**options, "host": host, "port": port})
