"""What a cache operation asks of the world, and the two drivers that do it: one sync, one for asyncio.

Operations are generators that yield effects and get their results back, so each is written once. An exception, a
cancellation included, is thrown into the generator at the effect that it met.
"""

import asyncio
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from intellicolab.redis.client import Role, async_client, client
from intellicolab.redis.scripts import Run, arun_all, run_all
from intellicolab.threads import is_worker
from intellicolab.threads import run as run_in_thread

from .shared_reads import SharedReads

R = TypeVar("R")

# Redis calls of one event loop at a time, well below the connections of its pool: more would be refused by the pool,
# and each refused reader would go to the database.
MAX_AT_ONCE = 64
# Waits of one event loop for the ends of other processes' flights, each of which holds a connection of the same pool;
# whoever is one too many waits for a turn here first, and what wakes it is kept for it meanwhile.
MAX_WAITING = 64
# Seconds of one BLPOP: shorter than a client's read timeout, so that a server that hangs is told from one that waits.
POP_SECONDS = 1.0
SHORTEST_POP = 0.001
# Seconds that a worker thread waits for a load to begin. An event loop's load waits for one of these threads; when all
# of them wait for it in turn, none is left to do it.
START_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Fetch:
    """The values of these names, None for what is not there. Raises RedisError, OSError."""

    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class Calls:
    """Scripts run in one round trip; the result is the list of their answers. Raises RedisError, OSError."""

    calls: Sequence[Run]


@dataclass(frozen=True, slots=True)
class Pop:
    """Wait for an element of a list, at most `seconds`."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """The result of a flight's future. Raises TimeoutError, in a worker thread also when its load does not even begin,
    or what the future raises."""

    future: "Future[Any]"
    seconds: float


@dataclass(frozen=True, slots=True)
class Load:
    """The result of a function that asks the database."""

    func: Callable[[], Any]


Effect = Fetch | Calls | Pop | Wait | Load
Operation = Generator[Effect, Any, R]


class _Turns:
    """An event loop's bounds on what it has under way at Redis."""

    _loops: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns]" = weakref.WeakKeyDictionary()

    def __init__(self) -> None:
        self.calls = asyncio.Semaphore(MAX_AT_ONCE)
        self.waits = asyncio.Semaphore(MAX_WAITING)

    @classmethod
    def here(cls) -> "_Turns":
        loop = asyncio.get_running_loop()
        found = cls._loops.get(loop)
        if found is None:
            found = cls._loops[loop] = cls()
        return found


def drive(operation: Operation[R]) -> R:
    """Run an operation in this thread."""
    try:
        effect = next(operation)
        while True:
            try:
                result = _SYNC[type(effect)](effect)
            except BaseException as error:  # the operation decides what it means, and cleans up after itself
                effect = operation.throw(error)
            else:
                effect = operation.send(result)
    except StopIteration as end:
        return end.value


async def adrive(operation: Operation[R]) -> R:
    """Run an operation on the running loop."""
    try:
        effect = next(operation)
        while True:
            try:
                result = await _ASYNC[type(effect)](effect)
            except BaseException as error:
                effect = operation.throw(error)
            else:
                effect = operation.send(result)
    except StopIteration as end:
        return end.value


# --- Sync ----------------------------------------------------------------------------------------------------------


def fetch(names: Sequence[str]) -> list[Any]:
    """What `Fetch` does. One name is asked for without redis-py's checks of options, which cost as much as the rest."""
    redis = client(Role.CACHE)
    return [redis.execute_command("GET", *names)] if len(names) == 1 else redis.mget(names)


def _fetch(effect: Fetch) -> list[Any]:
    return fetch(effect.names)


def _calls(effect: Calls) -> list[Any]:
    return run_all(client(Role.CACHE), effect.calls)


def _pop(effect: Pop) -> None:
    for nap in _naps(effect.seconds):
        if client(Role.CACHE).blpop([effect.name], timeout=nap) is not None:
            return


def _wait(effect: Wait) -> Any:
    if not is_worker():
        return effect.future.result(effect.seconds)
    try:
        return effect.future.result(min(START_SECONDS, effect.seconds))
    except TimeoutError:
        if not effect.future.running():
            raise
        return effect.future.result(effect.seconds)


def _load(effect: Load) -> Any:
    return effect.func()


# --- Async ---------------------------------------------------------------------------------------------------------


async def afetch(names: Sequence[str]) -> list[Any]:
    if len(names) == 1:
        return [await SharedReads.here().get(names[0], _aget)]
    async with _Turns.here().calls:
        return await async_client(Role.CACHE).mget(names)


async def _aget(name: str) -> Any:
    async with _Turns.here().calls:
        return await async_client(Role.CACHE).execute_command("GET", name)


async def _afetch(effect: Fetch) -> list[Any]:
    return await afetch(effect.names)


async def _acalls(effect: Calls) -> list[Any]:
    async with _Turns.here().calls:
        return await arun_all(async_client(Role.CACHE), effect.calls)


async def _apop(effect: Pop) -> None:
    ends = time.monotonic() + effect.seconds
    waits = _Turns.here().waits
    try:
        async with asyncio.timeout(effect.seconds):  # not around the BLPOP: cancelling that would cost its connection
            await waits.acquire()
    except TimeoutError:
        return
    try:
        await _ablpop(effect.name, ends - time.monotonic())
    finally:
        waits.release()


async def _ablpop(name: str, seconds: float) -> None:
    for nap in _naps(seconds):
        if await async_client(Role.CACHE).blpop([name], timeout=nap) is not None:
            return


async def _await(effect: Wait) -> Any:
    # Shielded: who gives up must not cancel what others wait for, too.
    return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(effect.future)), effect.seconds)


async def _aload(effect: Load) -> Any:
    return await run_in_thread(effect.func)


def _naps(seconds: float) -> Iterator[float]:
    """The timeouts of as many BLPOPs: none shorter than Redis counts, which a server may take for no timeout at all."""
    while seconds >= SHORTEST_POP:
        yield min(seconds, POP_SECONDS)
        seconds -= POP_SECONDS


_SYNC: dict[type, Callable[[Any], Any]] = {Fetch: _fetch, Calls: _calls, Pop: _pop, Wait: _wait, Load: _load}
_ASYNC: dict[type, Callable[[Any], Any]] = {Fetch: _afetch, Calls: _acalls, Pop: _apop, Wait: _await, Load: _aload}
