"""One of several processes whose readers go at a cache, or a lock, together; led by `bench.harness.crew`.

job: {"what": "cache" or "lock", "contender", "key", "readers", "ttl", "seconds", "pause",
"prepared"}. Each reader reads for so many seconds with a pause in between, once if they are 0; `prepared`: the value is
there before. Result: {"waits": [seconds ..], "began", "ended"}, the
latter by the machine's monotonic clock.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable

import django

from bench.harness import crew
from bench.sites import caches, locks
from intellicolab.redis.client import aclose

Turn = Callable[[str], float]
AsyncTurn = Callable[[str], Awaitable[float]]

# A crowd ends, whatever becomes of the contender: the whole program has minutes.
CROWD_SECONDS = 60.0


def timed(read: caches.Reader) -> Turn:
    def turn(key: str) -> float:
        began = time.perf_counter()
        assert read(key)
        return time.perf_counter() - began

    return turn


def atimed(read: caches.AsyncReader) -> AsyncTurn:
    async def turn(key: str) -> float:
        began = time.perf_counter()
        assert await read(key)
        return time.perf_counter() - began

    return turn


def turns(turn: Turn, job: dict, waits: list[float]) -> None:
    end = time.monotonic() + job["seconds"]
    while True:
        waits.append(turn(job["key"]))
        if time.monotonic() >= end:
            return
        time.sleep(job["pause"])


async def aturns(turn: AsyncTurn, job: dict, waits: list[float]) -> None:
    end = time.monotonic() + job["seconds"]
    while True:
        waits.append(await turn(job["key"]))
        if time.monotonic() >= end:
            return
        await asyncio.sleep(job["pause"])


def warm(job: dict) -> str:
    """What the readers connect with before they are let go: one value for all, or a lock for those of a process."""
    return caches.WARM if job["what"] == "cache" else f"bench:warm:{os.getpid()}"


def crowd(turn: Turn, job: dict, go: Callable[[], None]) -> dict:
    """Threads that have each connected by the time that they are let go."""
    waits: list[float] = []
    ready, gate = threading.Barrier(job["readers"] + 1), threading.Event()

    def reader() -> None:
        turn(warm(job))
        ready.wait()
        gate.wait()
        turns(turn, job, waits)

    turn(warm(job))
    threads = [threading.Thread(target=reader, daemon=True) for _ in range(job["readers"])]
    for thread in threads:
        thread.start()
    ready.wait(CROWD_SECONDS)
    if job.get("prepared"):
        turn(job["key"])
    go()
    began = time.monotonic()
    gate.set()
    for thread in threads:
        thread.join(max(0.0, began + CROWD_SECONDS - time.monotonic()))
    return {"waits": waits, "began": began, "ended": time.monotonic()}


async def acrowd(turn: AsyncTurn, job: dict, go: Callable[[], None]) -> dict:
    waits: list[float] = []
    await turn(warm(job))
    await asyncio.gather(*(turn(warm(job)) for _ in range(job["readers"])))
    if job.get("prepared"):
        await turn(job["key"])
    await asyncio.to_thread(go)
    began = time.monotonic()
    async with asyncio.timeout(CROWD_SECONDS):
        await asyncio.gather(*(aturns(turn, job, waits) for _ in range(job["readers"])))
    ended = time.monotonic()
    await aclose()
    return {"waits": waits, "began": began, "ended": ended}


def do(job: dict, go: Callable[[], None]) -> dict:
    name = job["contender"]
    if job["what"] == "lock":
        return crowd(locks.SYNC[name], job, go) if name in locks.SYNC else _run(locks.ASYNC[name], job, go)
    if name in caches.SYNC:
        return crowd(timed(caches.SYNC[name](job["ttl"])), job, go)
    return _run(atimed(caches.ASYNC[name](job["ttl"])), job, go)


def _run(turn: AsyncTurn, job: dict, go: Callable[[], None]) -> dict:
    return asyncio.run(acrowd(turn, job, go))


if __name__ == "__main__":
    django.setup()
    crew.serve(do, sys.stdin, sys.stdout)
