"""One command on a connection of a client's pool, without what redis-py does around it.

`execute_command` looks at retries, metrics and answer callbacks, and the pool takes its lock, counts and looks at the
socket twice; a script's call needs none of that, and on one machine it takes about as long as the round trip itself
(docs/benchmarks.md has the figures). Errors, time-outs and what becomes of the connection are redis-py's: a connection
whose answer did not come is closed, so nobody reads it later.
"""

import asyncio
import os
import select
from collections import deque
from typing import Any

import hiredis
import redis
import redis.asyncio
from redis.exceptions import ResponseError, TimeoutError

from .cluster import AsyncCluster, Cluster


class _Kept:
    """A connection, and what tells whether there is anything to read from it."""

    __slots__ = ("connection", "watch")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.watch = select.poll()
        self.watch.register(connection._sock, select.POLLIN)


class _Idle:
    """Connections of one pool, kept between commands; for the pool, they are in use. Thread-safe, as a deque is."""

    def __init__(self, pool: redis.ConnectionPool) -> None:
        self.process = os.getpid()
        self._pool = pool
        self._kept: deque[_Kept] = deque()

    def take(self) -> _Kept:
        """One that is connected. RedisError when there is none to be had."""
        try:
            kept = self._kept.pop()
        except IndexError:
            return _Kept(self._pool.get_connection())
        if not kept.watch.poll(0):
            return kept
        kept.connection.disconnect()  # closed by the server, or with something to read that nobody has asked for
        self._pool.release(kept.connection)
        return self.take()

    def release(self, kept: _Kept) -> None:
        if kept.connection._sock is None:  # its command failed
            self._pool.release(kept.connection)
        else:
            self._kept.append(kept)

    def give_back(self) -> None:
        """All of them, to the pool."""
        while self._kept:
            self._pool.release(self._kept.pop().connection)


def close(pool: redis.ConnectionPool) -> None:
    """Give the pool what it is to disconnect."""
    if (found := pool.__dict__.get("idle")) is not None:
        found.give_back()


def ask(client: redis.Redis, *command: Any) -> Any:
    """The server's plain answer. On a Cluster through the client, which knows where the keys are.

    Raises RedisError or OSError.
    """
    if type(client) is Cluster:  # `isinstance` asks its abstract base, which takes as long as all the rest here
        return client.execute_command(*command)
    pool = client.connection_pool
    if type(pool) is not redis.ConnectionPool:  # Sentinels may name another primary at any time
        return _asked(pool, command)
    idle = _idle_of(pool)
    kept = idle.take()
    connection = kept.connection
    try:
        connection._sock.sendall(hiredis.pack_command(command))
        answer = connection._parser.read_response()
    except BaseException:
        connection.disconnect()
        raise
    finally:
        idle.release(kept)
    if isinstance(answer, ResponseError):
        raise answer
    return answer


def _idle_of(pool: redis.ConnectionPool) -> _Idle:
    found: _Idle | None = pool.__dict__.get("idle")
    if found is None or found.process != os.getpid():  # a forked child has no use for its parent's connections
        fresh = _Idle(pool)
        if found is not None:
            pool.__dict__.pop("idle", None)
        found = pool.__dict__.setdefault("idle", fresh)  # another thread may have been quicker
    return found


def _asked(pool: redis.ConnectionPool, command: tuple[Any, ...]) -> Any:
    connection = pool.get_connection()
    try:
        connection.send_command(*command)
        return connection.read_response()
    finally:
        pool.release(connection)


class _AsyncIdle:
    """As `_Idle`, on one event loop."""

    def __init__(self, pool: redis.asyncio.ConnectionPool) -> None:
        self._pool = pool
        self._connections: deque[Any] = deque()

    async def get_connection(self) -> Any:
        while self._connections:
            connection = self._connections.pop()
            if connection.is_connected and not await connection._parser.can_read():
                return connection
            await connection.disconnect(nowait=True)  # closed by the server, or with something that nobody asked for
            await self._pool.release(connection)
        return await self._pool.get_connection()

    async def release(self, connection: Any) -> None:
        if connection.is_connected:
            self._connections.append(connection)
        else:  # its command failed
            await self._pool.release(connection)


async def aask(client: redis.asyncio.Redis, *command: Any) -> Any:
    """As `ask`, on the running event loop."""
    if type(client) is AsyncCluster:
        return await client.execute_command(*command)
    pool = client.connection_pool
    if type(pool) is not redis.asyncio.ConnectionPool:
        return await _aasked(pool, command)
    idle = pool.__dict__.get("idle") or pool.__dict__.setdefault("idle", _AsyncIdle(pool))
    connection = await idle.get_connection()
    try:
        connection._writer.write(hiredis.pack_command(command))  # not so long that it would have to wait
        async with asyncio.timeout(connection.socket_timeout):
            answer = await connection._parser.read_response()
    except BaseException as error:
        await connection.disconnect(nowait=True)
        if isinstance(error, asyncio.TimeoutError):
            raise TimeoutError(f"No answer within {connection.socket_timeout} s") from None
        raise
    finally:
        await idle.release(connection)
    if isinstance(answer, ResponseError):
        raise answer
    return answer


async def _aasked(pool: redis.asyncio.ConnectionPool, command: tuple[Any, ...]) -> Any:
    connection = await pool.get_connection()
    try:
        await connection.send_command(*command)
        return await connection.read_response()
    finally:
        await pool.release(connection)
