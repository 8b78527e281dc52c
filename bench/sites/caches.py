"""The caches that are compared: the same value, loaded in the same time, each read as its documentation recommends.

Runs on the project's own settings; DJANGO_SETTINGS_MODULE and VAR_DIR come from the environment.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from threading import Thread
from typing import Any

import msgspec
from cashews import Cache
from django_redis.cache import RedisCache
from dogpile.cache import CacheRegion, make_region

from intellicolab.cache.declaration import Cached
from intellicolab.cache.strategies import CacheAside, RefreshAhead
from intellicolab.redis.client import Role, async_client, client, url_of

LOAD_SECONDS = 0.2
STEADY_TTL = 2  # seconds; a whole number, because Django's and HerdClient's are
LONG_TTL = 300
WARM = "warm"  # the key that readers connect with, before what is measured


class Profile(msgspec.Struct, frozen=True):
    """A value of the usual size: some 200 bytes of JSON."""

    id: int
    name: str
    email: str
    title: str
    time_zone: str
    language: str
    about: str


def profile(number: int) -> Profile:
    about = "Keeps the build green and the coffee hot; ask about releases."
    return Profile(number, "Alice", "alice@example.org", "Release engineer", "Europe/Berlin", "de", about)


def counter(key: str) -> str:
    """Where the loads of a key are counted, by all processes."""
    return f"bench:loads:{key}"


def load(key: str) -> Profile:
    if key != WARM:
        client(Role.STATE).incr(counter(key))
        time.sleep(LOAD_SECONDS)
    return profile(1)


async def aload(key: str) -> Profile:
    if key != WARM:
        await async_client(Role.STATE).incr(counter(key))
        await asyncio.sleep(LOAD_SECONDS)
    return profile(1)


def for_peers(key: str) -> dict[str, Any]:
    return msgspec.to_builtins(load(key))


async def afor_peers(key: str) -> dict[str, Any]:
    return msgspec.to_builtins(await aload(key))


aside = Cached("bench-aside", "{key}", load, ttl=LONG_TTL, type=Profile, strategy=CacheAside())
ahead = Cached("bench-ahead", "{key}", load, ttl=STEADY_TTL, type=Profile, strategy=RefreshAhead(stale=10))

Reader = Callable[[str], Any]
AsyncReader = Callable[[str], Awaitable[Any]]


def django_redis(ttl: int) -> Reader:
    cache = RedisCache(url_of(Role.CACHE), {})
    return lambda key: cache.get_or_set(key, lambda: for_peers(key), ttl)


def herd(ttl: int) -> Reader:
    """`get`, then `set`: its `get_or_set` stores nothing while the expired value is still there."""
    cache = RedisCache(url_of(Role.CACHE), {"OPTIONS": {"CLIENT_CLASS": "django_redis.client.HerdClient"}})

    def read(key: str) -> Any:
        value = cache.get(key)
        if value is None:
            value = for_peers(key)
            cache.set(key, value, ttl)
        return value

    return read


def dogpile(ttl: int) -> Reader:
    """With the lock between processes, and with refreshes in the background, as in its documentation's example."""
    arguments = {
        "url": url_of(Role.CACHE),
        "distributed_lock": True,
        "thread_local_lock": False,
        "lock_timeout": 5,
        "redis_expiration_time": LONG_TTL * 2,
    }
    region = make_region(async_creation_runner=in_background)
    region.configure("dogpile.cache.redis", expiration_time=ttl, arguments=arguments)
    return lambda key: region.get_or_create(key, lambda: for_peers(key))


def in_background(region: CacheRegion, key: Any, creator: Callable[[], Any], mutex: Any) -> None:
    def create() -> None:
        try:
            region.set(key, creator())
        finally:
            mutex.release()

    Thread(target=create).start()


def cashews_cache() -> Cache:
    cache = Cache()
    cache.setup("redis://", address=url_of(Role.CACHE), max_connections=100)
    return cache


def cashews_lock(ttl: int) -> AsyncReader:
    return cashews_cache()(ttl=ttl, key="lock:{key}", lock=True)(afor_peers)


def cashews_early(ttl: int) -> AsyncReader:
    """Refreshed in the background from half its time to live, as its documentation recommends for hot values."""
    return cashews_cache().early(ttl=ttl, early_ttl=ttl / 2, key="early:{key}")(afor_peers)


SYNC: dict[str, Callable[[int], Reader]] = {
    "IntelliColab, threads": lambda ttl: aside.get if ttl == LONG_TTL else ahead.get,
    "django-redis get_or_set": django_redis,
    "django-redis HerdClient": herd,
    "dogpile.cache": dogpile,
}
ASYNC: dict[str, Callable[[int], AsyncReader]] = {
    "IntelliColab, asyncio": lambda ttl: aside.aget if ttl == LONG_TTL else ahead.aget,
    "cashews": lambda ttl: cashews_lock(ttl) if ttl == LONG_TTL else cashews_early(ttl),
}
