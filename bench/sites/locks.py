"""The locks that are compared, each taken once a contender and held for a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import redis.asyncio.lock
import redis.lock

from intellicolab.redis.client import Role, async_client, client
from intellicolab.redis.lock import Lock

LEASE = 10.0  # seconds
WAIT = 60.0  # seconds
HELD = 0.001  # seconds: the critical section


def ours(name: str) -> float:
    """The seconds that it took to get the lock; as with the others here, it is given back before this returns."""
    began = time.perf_counter()
    with Lock(name, LEASE, WAIT):
        waited = time.perf_counter() - began
        time.sleep(HELD)
    return waited


async def aours(name: str) -> float:
    began = time.perf_counter()
    async with Lock(name, LEASE, WAIT):
        waited = time.perf_counter() - began
        await asyncio.sleep(HELD)
    return waited


def polling(pause: float) -> Callable[[str], float]:
    def turn(name: str) -> float:
        began = time.perf_counter()
        with redis.lock.Lock(client(Role.STATE), name, timeout=LEASE, sleep=pause, blocking_timeout=WAIT):
            waited = time.perf_counter() - began
            time.sleep(HELD)
        return waited

    return turn


def apolling(pause: float) -> Callable[[str], Awaitable[float]]:
    async def turn(name: str) -> float:
        began = time.perf_counter()
        state = async_client(Role.STATE)
        async with redis.asyncio.lock.Lock(state, name, timeout=LEASE, sleep=pause, blocking_timeout=WAIT):
            waited = time.perf_counter() - began
            await asyncio.sleep(HELD)
        return waited

    return turn


SYNC: dict[str, Callable[[str], float]] = {
    "IntelliColab, threads": ours,
    "redis-py, threads, sleep 0.1": polling(0.1),
    "redis-py, threads, sleep 0.01": polling(0.01),
}
ASYNC: dict[str, Callable[[str], Awaitable[float]]] = {
    "IntelliColab, asyncio": aours,
    "redis-py, asyncio, sleep 0.1": apolling(0.1),
    "redis-py, asyncio, sleep 0.01": apolling(0.01),
}
