"""Connections that say when a link to Redis is made and when it is lost.

redis-py is silent about both. An outage would otherwise show as a thousand tracebacks and a recovery as nothing,
so a link is logged when its state changes, once for all connections of its role.
"""

import logging
import threading
from typing import Any

from redis import connection as sync
from redis.asyncio import connection as asynchronous
from redis.exceptions import RedisError

logger = logging.getLogger("intellicolab.redis")


class Link:
    """Whether this process reaches one Redis role; thread-safe, shared by sync and async connections."""

    def __init__(self, name: str, where: str) -> None:
        self.name = name
        self.where = where
        self.up: bool | None = None
        self._lock = threading.Lock()

    def made(self) -> None:
        if self._change(True):
            logger.info("Redis %s: connected to %s", self.name, self.where)

    def lost(self, error: BaseException) -> None:
        if self._change(False):
            logger.error("Redis %s: no connection to %s: %s", self.name, self.where, error)

    def _change(self, up: bool) -> bool:
        with self._lock:
            changed, self.up = self.up is not up, up
        return changed


class _Logged:
    """Mixed into redis-py's connection classes; `link` comes with the pool's connection arguments."""

    link: Link
    _sock: Any

    def __init__(self, *, link: Link, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.link = link

    def connect(self) -> None:
        if self._sock:
            return
        try:
            super().connect()  # type: ignore[misc]
        except (RedisError, OSError) as error:
            self.link.lost(error)
            raise
        self.link.made()


class _LoggedAsync:
    link: Link
    is_connected: bool

    def __init__(self, *, link: Link, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.link = link

    async def connect(self) -> None:
        if self.is_connected:
            return
        try:
            await super().connect()  # type: ignore[misc]
        except (RedisError, OSError) as error:
            self.link.lost(error)
            raise
        self.link.made()


class Connection(_Logged, sync.Connection):
    pass


class SSLConnection(_Logged, sync.SSLConnection):
    pass


class UnixConnection(_Logged, sync.UnixDomainSocketConnection):
    pass


class AsyncConnection(_LoggedAsync, asynchronous.Connection):
    pass


class AsyncSSLConnection(_LoggedAsync, asynchronous.SSLConnection):
    pass


class AsyncUnixConnection(_LoggedAsync, asynchronous.UnixDomainSocketConnection):
    pass


SYNC_CLASSES: dict[str, type] = {"redis": Connection, "rediss": SSLConnection, "unix": UnixConnection}
ASYNC_CLASSES: dict[str, type] = {
    "redis": AsyncConnection,
    "rediss": AsyncSSLConnection,
    "unix": AsyncUnixConnection,
}
