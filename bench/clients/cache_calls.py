"""What a call costs: each group's contenders in turn, many short rounds, in one process.

Led by `bench.harness.crew`. job: {"rounds", "group"}. Result: {contender: [microseconds a call, of each round]}.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import repeat
from typing import Any

import django
import msgspec
import redis.asyncio.lock
import redis.lock
from django.core.cache import caches as django_caches

from bench.clients.loop import loop
from bench.harness import crew
from bench.sites.caches import LONG_TTL, Profile, profile
from intellicolab.cache.declaration import Cached
from intellicolab.cache.local import MISSING
from intellicolab.cache.strategies import RefreshAhead
from intellicolab.cache.tracking import tracker
from intellicolab.redis import codec, keys
from intellicolab.redis.client import Role, async_client, client
from intellicolab.redis.lock import Lock

MANY = 100
TRACKING_SECONDS = 10.0

# Calls in a round: within a millisecond or so, shorter than another program's turn on the core.
CALLS, MANY_CALLS, LOCAL_CALLS = 3, 2, 300

Measure = Callable[[], float]  # microseconds a call, over one round


def load(number: int) -> Profile:
    return profile(number)


one = Cached("bench-one", "{number}", load, ttl=LONG_TTL, type=Profile)
near = Cached("bench-near", "{number}", load, ttl=LONG_TTL, type=Profile, local=(1000, 1 << 20))
ahead = Cached("bench-warm-ahead", "{number}", load, ttl=LONG_TTL, type=Profile, strategy=RefreshAhead(stale=10))
tagged = Cached("bench-tagged", "{number}", load, ttl=LONG_TTL, type=Profile, tags=["all"])
decode = msgspec.json.Decoder(Profile).decode


def timed(call: Callable[[], Any], calls: int = CALLS) -> Measure:
    def measure() -> float:
        call()  # what the contender before has pushed out of the processor's caches is no cost of this one
        began = time.perf_counter()
        for _ in repeat(None, calls):
            call()
        return (time.perf_counter() - began) / calls * 1e6

    return measure


def atimed(runner: asyncio.Runner, call: Callable[[], Awaitable[Any]], calls: int = CALLS) -> Measure:
    async def measure() -> float:
        await call()
        began = time.perf_counter()
        for _ in repeat(None, calls):
            await call()
        return (time.perf_counter() - began) / calls * 1e6

    return lambda: runner.run(measure())


def stored() -> list[str]:
    """Puts the value where each contender reads it; the names of the plain JSON values."""
    numbers = list(range(MANY))
    one.get_many(numbers)
    django_caches["default"].set_many({str(number): msgspec.to_builtins(profile(number)) for number in numbers})
    names = [keys.cached("bench-raw", str(number)) for number in numbers]  # as long as ours
    client(Role.CACHE).mset({name: codec.encode(profile(number)) for number, name in enumerate(names)})
    return names


def near_enough() -> None:
    """Have the value in the local tier, which begins to keep values when its tracking has begun."""
    deadline = time.monotonic() + TRACKING_SECONDS
    near.get(1)
    assert near.tier is not None
    tracker.wait(TRACKING_SECONDS)
    while near.tier.get(keys.cached("bench-near", "1")) is MISSING:
        assert time.monotonic() < deadline, "the local tier keeps nothing"
        near.get(1)


def local(runner: asyncio.Runner) -> dict[str, Measure]:
    near_enough()
    cache = django_caches["default"]
    return {
        "local hit": timed(lambda: near.get(1), LOCAL_CALLS),
        "local hit, asyncio": atimed(runner, lambda: near.aget(1), LOCAL_CALLS),
        "django-redis get": timed(lambda: cache.get("1")),
    }


def remote(runner: asyncio.Runner) -> dict[str, Measure]:
    raw, name, cache = client(Role.CACHE), keys.cached("bench-one", "1"), django_caches["default"]
    return {
        "get": timed(lambda: one.get(1)),
        "raw GET": timed(lambda: raw.get(name)),
        "django-redis get": timed(lambda: cache.get("1")),
        "get, refresh-ahead": timed(lambda: ahead.get(1)),
        "get, with a tag": timed(lambda: tagged.get(1)),
    }


def aremote(runner: asyncio.Runner) -> dict[str, Measure]:
    name, cache = keys.cached("bench-one", "1"), django_caches["default"]

    async def made() -> Any:
        return async_client(Role.CACHE)

    raw = runner.run(made())
    return {
        "aget": atimed(runner, lambda: one.aget(1)),
        "raw GET": atimed(runner, lambda: raw.get(name)),
        "django-redis aget": atimed(runner, lambda: cache.aget("1")),
        "aget, refresh-ahead": atimed(runner, lambda: ahead.aget(1)),
        "aget, with a tag": atimed(runner, lambda: tagged.aget(1)),
    }


def many(runner: asyncio.Runner) -> dict[str, Measure]:
    raw: Any = client(Role.CACHE)  # its answers are of several types
    names, cache, numbers = stored(), django_caches["default"], list(range(MANY))
    texts = [str(number) for number in numbers]
    return {
        "get_many": timed(lambda: one.get_many(numbers), MANY_CALLS),
        "raw MGET, decoded": timed(lambda: [decode(data) for data in raw.mget(names)], MANY_CALLS),
        "django-redis get_many": timed(lambda: cache.get_many(texts), MANY_CALLS),
    }


def lock(runner: asyncio.Runner) -> dict[str, Measure]:
    state, mine = client(Role.STATE), Lock("bench-alone", 10.0)
    theirs = redis.lock.Lock(state, "bench:redis-py", timeout=10)

    def redis_py() -> None:
        theirs.acquire()
        theirs.release()

    return {"acquire, release": timed(lambda: mine.acquire().release()), "redis-py": timed(redis_py)}


def alock(runner: asyncio.Runner) -> dict[str, Measure]:
    mine = Lock("bench-alone", 10.0)

    async def ours() -> None:
        await (await mine.aacquire()).arelease()

    async def made() -> Any:
        return redis.asyncio.lock.Lock(async_client(Role.STATE), "bench:redis-py", timeout=10)

    theirs = runner.run(made())

    async def redis_py() -> None:
        await theirs.acquire()
        await theirs.release()

    return {"acquire, release": atimed(runner, ours), "redis-py": atimed(runner, redis_py)}


GROUPS = {"local": local, "remote": remote, "aremote": aremote, "many": many, "lock": lock, "alock": alock}


def do(job: dict, go: Callable[[], None]) -> dict:
    stored()
    with loop() as runner:
        contenders = GROUPS[job["group"]](runner)
        for measure in contenders.values():
            measure()  # connects
        go()
        found: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(job["rounds"]):
            for name, measure in contenders.items():
                found[name].append(measure())
        return found


if __name__ == "__main__":
    django.setup()
    crew.serve(do, sys.stdin, sys.stdout)
