"""Cluster clients that send nothing twice, and offer on a Cluster what one server offers.

What a node refused (MOVED, ASK, TRYAGAIN) is sent on: it was not done. What may have been done is not: redis-py 8.1
sends again after a timeout, its sync pipelines even without retries. A failed command makes the client read the
Cluster's map anew, so that a promoted replica is found without a restart.

Over several slots work: `mget`, `delete`, `unlink`, `exists`, `touch` (not atomic then) and pipelines of anything that
touches one slot a command, scripts included. `ping`, `info`, `dbsize`, `flushdb` and `scan_iter` ask every primary.
"""

import functools
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis import cluster
from redis.asyncio import cluster as async_cluster
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ClusterDownError, RedisClusterException, SlotNotCoveredError, TryAgainError
from redis.retry import Retry

from .addresses import Address
from .connections import ASYNC_NODE_CLASSES, NODE_CLASSES, Links

F = TypeVar("F", bound=Callable[..., Any])

MOVED_BEFORE_REFRESH = 5  # slots that are patched one by one before the whole map is read again
_REFUSED = (AskError, TryAgainError)  # MovedError is an AskError
_AWAY = (redis.ConnectionError, redis.TimeoutError, ClusterDownError)
_EVERY_PRIMARY = dict.fromkeys(("PING", "INFO", "DBSIZE"), cluster.RedisCluster.PRIMARIES)


def _unreachable(error: Exception) -> redis.ConnectionError:
    """An outage as the error that it is with one server; redis-py's own for it is not even a RedisError."""
    return redis.ConnectionError(f"The Cluster gives no answer: {error}")


class _ScriptsInPipelines:
    """redis-py blocks these in Cluster pipelines, though a script's keys say where it goes."""

    execute_command: Callable[..., Any]

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        return self.execute_command("EVALSHA", sha, numkeys, *keys_and_args)

    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any:
        return self.execute_command("EVAL", script, numkeys, *keys_and_args)

    def delete(self, *names: Any) -> Any:
        """Keys of one slot."""
        return self.execute_command("DEL", *names)

    def unlink(self, *names: Any) -> Any:
        """Keys of one slot."""
        return self.execute_command("UNLINK", *names)


class _Routing(cluster.RedisCluster):
    """What the client and its pipelines have in common."""

    COMMAND_FLAGS = {**cluster.RedisCluster.COMMAND_FLAGS, **_EVERY_PRIMARY}

    def get_node(self, host: str | None = None, port: int | None = None, node_name: str | None = None) -> Any:
        """Also a node that joined after the map was read: a slot on its way there is asked for by that name."""
        found = super().get_node(host, port, node_name)
        if found is None and node_name is not None:
            host, _, number = node_name.rpartition(":")
            found = cluster.ClusterNode(host, int(number), cluster.PRIMARY)
            self.nodes_manager.nodes_cache[node_name] = found
        return found

    def _get_command_keys(self, *args: Any) -> Any:
        if args[0] in ("EVAL", "EVALSHA"):  # redis-py asks the server for them in a pipeline, command by command
            return args[3 : 3 + int(args[2])]
        return super()._get_command_keys(*args)


class Cluster(_Routing):
    """Like `redis.Redis`. Raises redis.ConnectionError when it is made and no node answers: it reads the map then."""

    def __init__(self, address: Address, links: Links, **options: Any) -> None:
        host, port = address.nodes[0]
        pool = functools.partial(
            redis.ConnectionPool, connection_class=NODE_CLASSES[address.transport], links=links, **options
        )
        try:
            super().__init__(
                url=f"redis://[{host}]:{port}" if ":" in host else f"redis://{host}:{port}",
                startup_nodes=[cluster.ClusterNode(*node) for node in address.nodes[1:]],
                connection_pool_class=pool,
                require_full_coverage=False,  # what lies on the nodes that are there can be had
                retry=Retry(NoBackoff(), 0),
            )
        except (RedisClusterException, IndexError) as error:  # IndexError: nodes that have no slots yet
            raise _unreachable(error) from error
        # Attributes of this object, since redis-py makes its NodesManager itself: all its code calls these.
        nodes: Any = self.nodes_manager
        nodes.initialize = _told(nodes.initialize)
        nodes.get_node_from_slot = _covered(nodes.get_node_from_slot, nodes.initialize)

    def disconnect_connection_pools(self) -> None:
        """Of each node the idle connections, as `sentinel.close`."""
        for node in self.get_nodes():
            if node.redis_connection:
                node.redis_connection.connection_pool.disconnect(inuse_connections=False)

    def mget(self, keys: Any, *args: Any) -> list[Any]:
        return self.mget_nonatomic(keys, *args)

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> "Pipeline":
        """Not a transaction unless asked for; that is for keys of one slot."""
        return Pipeline(
            nodes_manager=self.nodes_manager,
            commands_parser=self.commands_parser,
            startup_nodes=self.nodes_manager.startup_nodes,
            result_callbacks=self.result_callbacks,
            cluster_response_callbacks=self.cluster_response_callbacks,
            reinitialize_steps=self.reinitialize_steps,
            retry=self.retry,
            lock=self._lock,
            transaction=transaction,
            event_dispatcher=self._event_dispatcher,
        )


def _told(initialize: F) -> F:
    """Reading the map, with its failure told as an outage, to those as well who waited for it meanwhile.

    redis-py lets in one thread at a time, and each would wait for every silent node once more after the one before.
    """
    lock = threading.Lock()
    failed = -math.inf

    @functools.wraps(initialize)
    def told(*args: Any, **kwargs: Any) -> Any:
        nonlocal failed
        began = time.monotonic()
        with lock:
            if failed >= began:
                raise redis.ConnectionError("The Cluster gave no answer to another thread")
            try:
                return initialize(*args, **kwargs)
            except (RedisClusterException, IndexError) as error:
                failed = time.monotonic()
                raise _unreachable(error) from error

    return told  # type: ignore[return-value]


def _covered(look_up: F, refresh: Callable[[], object]) -> F:
    """Whose slot it is; one that the map lacks is told as an outage, and has the map read anew."""

    @functools.wraps(look_up)
    def covered(*args: Any, **kwargs: Any) -> Any:
        try:
            return look_up(*args, **kwargs)
        except SlotNotCoveredError as error:
            refresh()
            raise _unreachable(error) from error

    return covered  # type: ignore[return-value]


class Pipeline(_ScriptsInPipelines, cluster.ClusterPipeline, _Routing):  # type: ignore[misc]
    def __init__(self, transaction: bool | None = None, **kwargs: Any) -> None:
        super().__init__(transaction=transaction, **kwargs)
        if not transaction:
            self._execution_strategy = _SentOnce(self)


class _SentOnce(cluster.PipelineStrategy):
    """redis-py sends the commands of a broken or silent connection again, which duplicates writes; this does not."""

    def _send_cluster_commands(self, stack: Any, raise_on_error: bool = True, allow_redirections: bool = True) -> Any:
        super()._send_cluster_commands(stack, raise_on_error=False, allow_redirections=False)
        commands = sorted(stack, key=lambda command: command.position)
        for command in commands:
            if allow_redirections and isinstance(command.result, _REFUSED):
                command.result = self._again(command)
        if any(isinstance(command.result, _AWAY) for command in commands):
            with suppress(redis.RedisError):  # the commands' own errors say it
                self._nodes_manager.initialize()
        for command in commands:
            if raise_on_error and isinstance(command.result, Exception):
                self.annotate_exception(command.result, command.position + 1, command.args)
                raise command.result
        return [command.result for command in commands]

    def _again(self, command: Any) -> Any:
        try:
            return self._pipe.parent_execute_command(*command.args, **command.options)
        except redis.RedisError as error:
            return error


class _Asking:
    """A node that a slot is moving to: ASKING and the command must go over one connection (cluster specification).

    redis-py 8.1 for asyncio sends them over two when it has several.
    """

    def __init__(self, node: async_cluster.ClusterNode) -> None:
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    async def execute_command(self, *args: Any, asking: bool = False, **kwargs: Any) -> Any:
        if args == ("ASKING",):
            return None
        node = self._node
        connection = node.acquire_connection()
        try:
            await node.disconnect_if_needed(connection)
            await connection.send_packed_command(connection.pack_commands([("ASKING",), args]))
            await self._allowed(connection)
            return await node.parse_response(connection, args[0], **kwargs)
        finally:
            await node.disconnect_if_needed(connection)
            node.release(connection)

    @staticmethod
    async def _allowed(connection: Any) -> None:
        try:
            await connection.read_response()
        except redis.ResponseError:  # the command's own answer follows, which the next command would take for its own
            await connection.disconnect()
            raise


class _AsyncNodes(async_cluster.NodesManager):
    __slots__ = ()

    def get_node_from_slot(self, *args: Any, **kwargs: Any) -> async_cluster.ClusterNode:
        """A slot that the map lacks is told as an outage; redis-py's KeyError is no RedisError."""
        try:
            return super().get_node_from_slot(*args, **kwargs)
        except (SlotNotCoveredError, KeyError) as error:
            raise _unreachable(error) from error


class AsyncCluster(redis.asyncio.RedisCluster):
    """Like `redis.asyncio.Redis`; reads the map at its first command."""

    COMMAND_FLAGS = {**redis.asyncio.RedisCluster.COMMAND_FLAGS, **_EVERY_PRIMARY}

    def __init__(self, address: Address, links: Links, max_connections: int, **options: Any) -> None:
        super().__init__(
            startup_nodes=[async_cluster.ClusterNode(*node) for node in address.nodes],
            require_full_coverage=False,
            retry=AsyncRetry(NoBackoff(), 0),
            # At each so many redirections redis-py closes every connection, also those in use; we refresh instead.
            reinitialize_steps=0,
            max_connections=max_connections,
        )
        self.nodes_manager.__class__ = _AsyncNodes  # redis-py makes it itself
        # redis-py passes on only the options that it knows; both dictionaries are where it takes them from.
        options["links"] = links
        connection_class = ASYNC_NODE_CLASSES[address.transport]
        self.connection_kwargs.update(options, connection_class=connection_class)
        for node in self.nodes_manager.startup_nodes.values():
            node.connection_class = connection_class
            node.connection_kwargs.update(options)

    def refresh(self) -> None:
        """Have the map read anew before the next command."""
        self._initialize = True

    async def aclose(self) -> None:
        await super().aclose()
        for nodes in ("nodes_cache", "startup_nodes"):  # redis-py's leaves them open while a refresh is due
            await self.nodes_manager.aclose(nodes)

    async def initialize(self, *args: Any, **kwargs: Any) -> "AsyncCluster":
        try:
            await super().initialize(*args, **kwargs)
        except (RedisClusterException, IndexError) as error:
            raise _unreachable(error) from error
        if len(self.nodes_manager.slots_cache) < cluster.REDIS_CLUSTER_HASH_SLOTS:
            self.refresh()  # read while the Cluster was being made: what it lacks must not be missing for good
        return self

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        if self._initialize:  # without a map redis-py asks any node first
            await self.initialize()
        return await super().execute_command(*args, **kwargs)

    async def _execute_command(self, target_node: Any, *args: Any, **kwargs: Any) -> Any:
        answer = await super()._execute_command(target_node, *args, **kwargs)
        if self.reinitialize_counter >= MOVED_BEFORE_REFRESH:
            self.reinitialize_counter = 0
            self.refresh()
        return answer

    def get_node(self, host: str | None = None, port: int | None = None, node_name: str | None = None) -> Any:
        """By name it is asked for only to follow ASK."""
        found = super().get_node(host, port, node_name)
        if node_name is None:
            return found
        if found is None:  # joined after the map was read
            host, _, number = node_name.rpartition(":")
            found = async_cluster.ClusterNode(host, int(number), cluster.PRIMARY, **self.connection_kwargs)
            self.nodes_manager.nodes_cache[node_name] = found
        return _Asking(found)

    async def mget(self, keys: Any, *args: Any) -> list[Any]:
        return await self.mget_nonatomic(keys, *args)

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> "AsyncPipeline":
        return AsyncPipeline(self, transaction)  # type: ignore[abstract]


class AsyncPipeline(_ScriptsInPipelines, async_cluster.ClusterPipeline):  # type: ignore[misc]
    cluster_client: AsyncCluster

    async def execute(self, raise_on_error: bool = True, allow_redirections: bool = True) -> list[Any]:
        """The answers in order. An outage also has the map read anew, which redis-py does for single commands only."""
        commands = list(getattr(self._execution_strategy, "_command_queue", ()))
        try:
            return await super().execute(raise_on_error, allow_redirections)
        except _AWAY:
            self.cluster_client.refresh()
            raise
        finally:
            if any(isinstance(command.result, _AWAY) for command in commands):
                self.cluster_client.refresh()
