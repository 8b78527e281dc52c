"""Connections that say when a link to Redis is made and when it is lost.

redis-py is silent about both. An outage would otherwise show as a thousand tracebacks and a recovery as nothing,
so a link is logged when its state changes, once for all connections of its role (in a Cluster: to the same node).
"""

import logging
import threading
from typing import Any

from redis import connection as sync
from redis import sentinel
from redis.asyncio import connection as asynchronous
from redis.asyncio import sentinel as async_sentinel
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


class Links:
    """The links of one role: one for all of `redis://host` or of a Sentinel's service, one a node of a Cluster."""

    def __init__(self, name: str, where: str) -> None:
        self.all = Link(name, where)
        self._nodes: dict[tuple[str, int], Link] = {}

    def to(self, host: str, port: int) -> Link:
        """The link to a node of a Cluster."""
        # Two threads may make one at once; setdefault keeps the first.
        return self._nodes.get((host, port)) or self._nodes.setdefault(
            (host, port), Link(self.all.name, f"{host}:{port} of {self.all.where}")
        )


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


class SentinelConnection(_Logged, sentinel.SentinelManagedConnection):
    def read_response(self, disable_decoding: bool = False, **options: Any) -> Any:
        """redis-py's own keeps a connection whose answer did not come, so that the next command would read it."""
        return super().read_response(disable_decoding, **{"disconnect_on_error": True, **options})


class SentinelSSLConnection(SentinelConnection, sentinel.SentinelManagedSSLConnection):
    pass


class AsyncSentinelConnection(_LoggedAsync, async_sentinel.SentinelManagedConnection):
    pass


class AsyncSentinelSSLConnection(_LoggedAsync, async_sentinel.SentinelManagedSSLConnection):
    pass


class NodeConnection(Connection):
    """To a node of a Cluster, whose address comes with `host` and `port`."""

    def __init__(self, *, links: Links, **kwargs: Any) -> None:
        super().__init__(link=links.to(kwargs["host"], kwargs["port"]), **kwargs)


class NodeSSLConnection(SSLConnection):
    def __init__(self, *, links: Links, **kwargs: Any) -> None:
        super().__init__(link=links.to(kwargs["host"], kwargs["port"]), **kwargs)


class _AsyncNode:
    """redis-py's asyncio Cluster lends a connection without a look at it: here it sees what the node has closed."""

    _reader: Any

    def __init__(self, *, links: Links, **kwargs: Any) -> None:
        super().__init__(link=links.to(kwargs["host"], kwargs["port"]), **kwargs)  # type: ignore[call-arg]

    def should_reconnect(self) -> bool:
        closed = self._reader is not None and self._reader.at_eof()
        return closed or super().should_reconnect()  # type: ignore[misc]


class AsyncNodeConnection(_AsyncNode, AsyncConnection):
    pass


class AsyncNodeSSLConnection(_AsyncNode, AsyncSSLConnection):
    pass


# By transport: to one server, to the primary that Sentinels name, to a node of a Cluster.
SYNC_CLASSES: dict[str, type] = {"redis": Connection, "rediss": SSLConnection, "unix": UnixConnection}
ASYNC_CLASSES: dict[str, type] = {
    "redis": AsyncConnection,
    "rediss": AsyncSSLConnection,
    "unix": AsyncUnixConnection,
}
SENTINEL_CLASSES: dict[str, type] = {"redis": SentinelConnection, "rediss": SentinelSSLConnection}
ASYNC_SENTINEL_CLASSES: dict[str, type] = {"redis": AsyncSentinelConnection, "rediss": AsyncSentinelSSLConnection}
NODE_CLASSES: dict[str, type] = {"redis": NodeConnection, "rediss": NodeSSLConnection}
ASYNC_NODE_CLASSES: dict[str, type] = {"redis": AsyncNodeConnection, "rediss": AsyncNodeSSLConnection}
