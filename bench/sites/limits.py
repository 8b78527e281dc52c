"""The limiters compared: each with one rule of so many a minute, on the server of the project's own settings.

A limiter takes an address and says whether a request from it is admitted. Everyone is asked as its documentation shows
it, and keeps its state under a prefix of its own.
"""

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import django
import redis
from django.http import HttpRequest
from django.test import RequestFactory
from django_ratelimit.core import is_ratelimited
from django_smart_ratelimit import config as smart_config
from django_smart_ratelimit.backends import get_backend as smart_backend
from django_smart_ratelimit.backends.factory import register_backend
from django_smart_ratelimit.backends.redis_backend import RedisBackend
from limits import RateLimitItemPerMinute, strategies
from limits.aio import storage as limits_aio_storage
from limits.aio import strategies as limits_aio
from limits.storage import RedisStorage
from pyrate_limiter import Duration, Limiter, Rate, RedisBucket
from rest_framework.throttling import SimpleRateThrottle
from throttled import Throttled, rate_limiter
from throttled.store import RedisStore

from intellicolab.redis import client as clients
from intellicolab.redis.client import Purpose, Role, url_of
from ratelimit.caller import Caller
from ratelimit.matching import CONNECT, FRAME, REQUEST, Occasion

django.setup()

from ratelimit.gate import adecide, decide  # noqa: E402  models can be imported only after the set-up

Admits = Callable[[str], bool]
AsyncAdmits = Callable[[str], Awaitable[bool]]

MINUTE = 60  # seconds
NOBODY = "198.19.255.255"  # whose requests don't count; of the network that RFC 2544 keeps for benchmarks
SMART = "socket"

# Each subject has policies of its own, as `bench.ratelimit` writes them, so that one snapshot holds one rule and three.
FIXED = Occasion(REQUEST, "/", "GET")
SLIDING = Occasion(CONNECT, "/ws/")
THREE = Occasion(FRAME, frame="message.send")


def be_patient() -> None:
    """Let no decision fail open because the machine is busy: then nothing would be measured."""
    clients.READ_TIMEOUT[Purpose.FAST] = 10.0


def ours(occasion: Occasion, rules: int = 1) -> Admits:
    """AssertionError when other than so many rules are asked: a decision about none would be the fastest of all."""
    assert len(decide(occasion, Caller(NOBODY)).asked) == rules
    return lambda address: decide(occasion, Caller(address)).admitted


def aours(occasion: Occasion) -> AsyncAdmits:
    async def admits(address: str) -> bool:
        return (await adecide(occasion, Caller(address))).admitted

    return admits


def limits(strategy: type[strategies.RateLimiter], per_minute: int) -> Admits:
    limiter = strategy(RedisStorage("redis+" + url_of(Role.STATE), key_prefix="limits"))
    item = RateLimitItemPerMinute(per_minute)
    return lambda address: limiter.hit(item, address)


def limits_three(per_minute: int) -> Admits:
    """Three rules are three calls: it has no other way."""
    limiter = strategies.FixedWindowRateLimiter(RedisStorage("redis+" + url_of(Role.STATE), key_prefix="limits3"))
    items = [RateLimitItemPerMinute(per_minute, namespace=name) for name in ("first", "second", "third")]
    return lambda address: all(limiter.hit(item, address) for item in items)


def alimits(per_minute: int) -> AsyncAdmits:
    storage = limits_aio_storage.RedisStorage(
        "async+redis+" + url_of(Role.STATE), implementation="redispy", key_prefix="limits-async"
    )
    limiter = limits_aio.FixedWindowRateLimiter(storage)
    item = RateLimitItemPerMinute(per_minute)
    return lambda address: limiter.hit(item, address)


def throttled(algorithm: str, per_minute: int) -> Admits:
    store = RedisStore(server=url_of(Role.STATE))
    throttle = Throttled(
        using=algorithm, quota=rate_limiter.per_min(per_minute), store=store, key_prefix="throttled-py"
    )
    return lambda address: not throttle.limit(address).limited


def pyrate(per_minute: int) -> Admits:
    """A bucket is of one identity; its window slides over a log of all requests."""
    connection = redis.Redis.from_url(url_of(Role.STATE))

    @cache
    def limiter(address: str) -> Limiter:
        return Limiter(RedisBucket.init([Rate(per_minute, Duration.MINUTE)], connection, f"pyrate:{address}"))

    return lambda address: limiter(address).try_acquire(address, blocking=False)


def rest_framework(per_minute: int) -> Admits:
    class Throttle(SimpleRateThrottle):
        rate = f"{per_minute}/min"

        def get_cache_key(self, request: str, view: None) -> str:
            return f"rest-framework:{request}"

    return lambda address: Throttle().allow_request(address, None)


def django_ratelimit(per_minute: int) -> Admits:
    rate = f"{per_minute}/m"
    return lambda address: not is_ratelimited(request_of(address), "bench", key="ip", rate=rate, increment=True)


def smart(per_minute: int) -> Admits:
    configure_smart()
    backend = smart_backend(SMART)
    return lambda address: backend.incr(f"ip:{address}", MINUTE) <= per_minute


def configure_smart() -> None:
    """Its fixed window: its sliding one is a log, which at a limit as high as here would be what is measured."""
    settings = smart_config.RateLimitSettings(
        backend_class=SMART,
        redis_config={"url": url_of(Role.STATE)},
        key_prefix="smart:",
        default_algorithm="fixed_window",
    )
    smart_config.configure(settings)
    register_backend(SMART, SocketBackend)


class SocketBackend(RedisBackend):
    """Its own gives a Unix socket's connection a host and a port as well, which redis-py refuses."""

    @classmethod
    def _get_or_create_pool(cls, url: str | None, **options: Any) -> Any:
        fitting = {name: value for name, value in options.items() if name not in ("host", "port", "db")}
        return super()._get_or_create_pool(url, **fitting)


@cache
def request_of(address: str) -> HttpRequest:
    return RequestFactory().get("/", REMOTE_ADDR=address)


OURS: dict[str, Callable[[int], Admits]] = {
    "IntelliColab, fixed window": lambda _: ours(FIXED),
    "IntelliColab, sliding window": lambda _: ours(SLIDING),
}
PEERS: dict[str, Callable[[int], Admits]] = {
    "limits, fixed window": lambda most: limits(strategies.FixedWindowRateLimiter, most),
    "limits, sliding window": lambda most: limits(strategies.SlidingWindowCounterRateLimiter, most),
    "throttled-py, fixed window": lambda most: throttled("fixed_window", most),
    "throttled-py, sliding window": lambda most: throttled("sliding_window", most),
    "pyrate-limiter": pyrate,
    "Django REST framework": rest_framework,
    "django-ratelimit": django_ratelimit,
    "django-smart-ratelimit": smart,
}
# These keep an entry a request, and so take the longer, the more they are asked.
LOGS = {"Django REST framework"}
# What each sends to the server for a decision, to be found in the server's own statistics.
COMMANDS: dict[str, tuple[str, ...]] = {
    "throttled-py, fixed window": ("incrby",),
    "Django REST framework": ("get", "set"),
    "django-ratelimit": ("set", "eval"),
}
SCRIPT = ("evalsha",)


def server_time(statistics: dict[str, Any], commands: tuple[str, ...]) -> float:
    """Microseconds of the server for one of each command, from INFO commandstats; what none has called takes none."""
    return sum(statistics.get(f"cmdstat_{command}", {}).get("usec_per_call", 0.0) for command in commands)
