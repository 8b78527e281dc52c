"""The one module that builds Redis clients.

Two roles (`Role.STATE`, which must not be evicted, and `Role.CACHE`, which may) and three purposes. Clients share
one pool a role and purpose; async ones one a running event loop, because an asyncio connection belongs to its loop.
No command is retried: redis-py's default of ten retries writes twice after a timeout (redis-py#3554), and the pools
already replace a connection that the server has closed before they lend it.
"""

import asyncio
import threading
import weakref
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from .connections import ASYNC_CLASSES, SYNC_CLASSES, Link

CONNECT_TIMEOUT = 1.0  # seconds; a server on the same network answers within milliseconds or is down
MAX_CONNECTIONS = 200  # a pool; a runaway caller gets an error instead of exhausting the server's clients


class Role(StrEnum):
    STATE = "state"  # sessions, limits, streams, presence: never evicted
    CACHE = "cache"  # cached values: may be evicted


class Purpose(StrEnum):
    COMMAND = "command"
    FAST = "fast"  # a user waits on a decision that has a default: give up early
    BLOCKING = "blocking"  # BLOCK reads and subscriptions: silence is normal


# Seconds that a read may take. redis-py's own default of 5 s breaks blocking reads and makes users wait elsewhere.
READ_TIMEOUT: dict[Purpose, float | None] = {Purpose.COMMAND: 2.0, Purpose.FAST: 0.1, Purpose.BLOCKING: None}

_lock = threading.Lock()
_links: dict[Role, Link] = {}
_pools: dict[tuple[Role, Purpose], redis.ConnectionPool] = {}
_async_pools: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict]" = weakref.WeakKeyDictionary()


def url_of(role: Role) -> str:
    return settings.REDIS_URLS[role]


def connection_options(url: str) -> tuple[str, dict[str, Any]]:
    """(scheme, keyword arguments for a redis-py connection) of a `redis://`, `rediss://` or `unix://` URL.

    Raises ImproperlyConfigured for anything else, naming the schemes that work.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SYNC_CLASSES:
        raise ImproperlyConfigured(
            f"{safe_url(url)!r} is not a Redis address. Use redis://host:6379/0, rediss://host:6379/0 or "
            "unix:///path/to/redis.sock?db=0."
        )
    try:
        options = dict(parse_url(url))
    except ValueError as error:
        raise ImproperlyConfigured(f"{safe_url(url)!r} is not a Redis address: {error}") from error
    options.pop("connection_class", None)
    return scheme, options


def safe_url(url: str) -> str:
    """The address without its password, for logs and messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _link(role: Role) -> Link:
    return _links.setdefault(role, Link(role.value, safe_url(url_of(role))))


def _pool_options(role: Role, purpose: Purpose) -> tuple[str, dict[str, Any]]:
    scheme, options = connection_options(url_of(role))
    defaults: dict[str, Any] = {
        "socket_connect_timeout": min(CONNECT_TIMEOUT, READ_TIMEOUT[purpose] or CONNECT_TIMEOUT),
        "socket_timeout": READ_TIMEOUT[purpose],
        "client_name": f"intellicolab-{role}-{purpose}",
        "max_connections": MAX_CONNECTIONS,
        "link": _link(role),
    }
    return scheme, {**defaults, **options}


def client(role: Role, purpose: Purpose = Purpose.COMMAND) -> redis.Redis:
    """A sync client on the shared pool of its role and purpose; cheap to make, needs no closing."""
    with _lock:
        pool = _pools.get((role, purpose))
        if pool is None:
            scheme, options = _pool_options(role, purpose)
            pool = redis.ConnectionPool(connection_class=SYNC_CLASSES[scheme], retry=Retry(NoBackoff(), 0), **options)
            _pools[role, purpose] = pool
    return redis.Redis(connection_pool=pool)


def async_client(role: Role, purpose: Purpose = Purpose.COMMAND) -> redis.asyncio.Redis:
    """An asyncio client on the running loop's pool of its role and purpose.

    Raises RuntimeError when no event loop runs.
    """
    pools = _async_pools.setdefault(asyncio.get_running_loop(), {})
    pool = pools.get((role, purpose))
    if pool is None:
        scheme, options = _pool_options(role, purpose)
        pool = redis.asyncio.ConnectionPool(
            connection_class=ASYNC_CLASSES[scheme], retry=AsyncRetry(NoBackoff(), 0), **options
        )
        pools[role, purpose] = pool
    return redis.asyncio.Redis(connection_pool=pool)


def close() -> None:
    """Disconnect every sync pool; called when the process ends and by tests that move the server."""
    with _lock:
        for pool in _pools.values():
            pool.disconnect()
        _pools.clear()
        _links.clear()


async def aclose() -> None:
    """Disconnect the running loop's async pools."""
    for pool in _async_pools.pop(asyncio.get_running_loop(), {}).values():
        await pool.disconnect()
