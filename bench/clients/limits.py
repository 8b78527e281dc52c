"""What a decision costs: each group's contenders in turn, many short turns a round, in one process.

Led by `bench.harness.crew`. job: {"group", "rounds", "turns", "calls"}: in a round each contender has so many turns of
so many calls. Result: {"took": {contender: [microseconds a call, of each round]}, "server": {contender: microseconds of
the server a call}}. A round's figure is the median of its turns.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import count, repeat
from statistics import median
from typing import Any, NamedTuple

from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.test import RequestFactory

from bench.clients.loop import loop
from bench.harness import crew
from bench.sites import limits  # sets Django up, first
from bench.sites.limits import COMMANDS, FIXED, SCRIPT, SLIDING, THREE, Admits, AsyncAdmits
from intellicolab.redis.client import Purpose, Role, async_client, client
from ratelimit.book import book
from ratelimit.caller import Caller
from ratelimit.shield import remembered

MOST = 100_000_000  # a minute: more than anybody asks
ALICE = "198.18.0.1"  # of the network that RFC 2544 keeps for benchmarks
FASTER = 20  # times as many calls, where none leaves the process
PING = "PING"

Measure = Callable[[int], float]  # calls -> microseconds a call


class Contender(NamedTuple):
    """`commands` are what it sends to the server for a call."""

    measure: Measure
    commands: tuple[str, ...] = ()


def timed(call: Callable[[], Any]) -> Measure:
    def measure(calls: int) -> float:
        call()  # what the contender before has pushed out of the processor's caches is no cost of this one
        began = time.perf_counter()
        for _ in repeat(None, calls):
            call()
        return (time.perf_counter() - began) / calls * 1e6

    return measure


def atimed(runner: asyncio.Runner, call: Callable[[], Awaitable[Any]]) -> Measure:
    async def measure(calls: int) -> float:
        await call()
        began = time.perf_counter()
        for _ in repeat(None, calls):
            await call()
        return (time.perf_counter() - began) / calls * 1e6

    return lambda calls: runner.run(measure(calls))


def asked(admits: Admits) -> Measure:
    return timed(lambda: admits(ALICE))


def asked_anew(admits: Admits) -> Measure:
    """By somebody else each turn: what is kept of each request would otherwise grow with the number of rounds."""
    numbers = count()

    def measure(calls: int) -> float:
        number = next(numbers)
        address = f"198.19.{number >> 8 & 255}.{number & 255}"
        return timed(lambda: admits(address))(calls)

    return measure


def sync(runner: asyncio.Runner) -> dict[str, Contender]:
    ours = {name: Contender(asked(made(MOST)), SCRIPT) for name, made in limits.OURS.items()}
    peers = {
        name: Contender((asked_anew if name in limits.LOGS else asked)(made(MOST)), COMMANDS.get(name, SCRIPT))
        for name, made in limits.PEERS.items()
    }
    return {
        PING: Contender(timed(client(Role.STATE, Purpose.FAST).ping), ("ping",)),
        **ours,
        "IntelliColab, three rules": Contender(asked(limits.ours(THREE, 3)), SCRIPT),
        **peers,
        "limits, three calls": Contender(asked(limits.limits_three(MOST)), SCRIPT),
    }


def asynchronous(runner: asyncio.Runner) -> dict[str, Contender]:
    def asked(admits: AsyncAdmits) -> Contender:
        return Contender(atimed(runner, lambda: admits(ALICE)), SCRIPT)

    decided = limits.ours(FIXED)

    async def hopped(address: str) -> bool:
        return await asyncio.to_thread(decided, address)

    async def ping() -> None:
        await async_client(Role.STATE, Purpose.FAST).ping()

    async def made() -> AsyncAdmits:
        return limits.alimits(MOST)

    return {
        PING: Contender(atimed(runner, ping), ("ping",)),
        "IntelliColab, fixed window": asked(limits.aours(FIXED)),
        "IntelliColab, sliding window": asked(limits.aours(SLIDING)),
        "IntelliColab, sync in a thread": asked(hopped),
        "limits, fixed window": asked(runner.run(made())),
    }


def refused(runner: asyncio.Runner) -> dict[str, Contender]:
    """With a policy of one request an hour: from the second on, this process knows that Alice is refused."""
    admits = limits.ours(FIXED)
    assert [admits(ALICE) for _ in range(3)] == [True, False, False]
    policies = book.policies()
    (of_alice,) = policies.asked(FIXED, Caller(ALICE))
    scope = {"type": "http", "path": "/", "method": "GET", "client": (ALICE, 50000), "headers": [(b"accept", b"*/*")]}

    async def shield(calls: int) -> float:
        assert remembered(scope) is not None
        return timed(lambda: remembered(scope))(calls)

    return {
        "remembered": Contender(lambda calls: timed(lambda: policies.refusals.get(of_alice.key))(calls * FASTER)),
        "decide": Contender(lambda calls: timed(lambda: admits(ALICE))(calls * FASTER)),
        "shield": Contender(lambda calls: runner.run(shield(calls * FASTER))),
    }


def view(runner: asyncio.Runner) -> dict[str, Contender]:
    settings.ROOT_URLCONF = "bench.sites.limit_views"
    bare, limited = handler(), handler("ratelimit.middleware.RateLimitMiddleware")
    pinged = handler("bench.sites.limit_views.ping_middleware")
    return {
        PING: Contender(timed(client(Role.STATE, Purpose.FAST).ping)),
        "without": Contender(viewed(bare, "/plain")),
        "with": Contender(viewed(limited, "/plain")),
        "with a PING": Contender(viewed(pinged, "/plain")),
        "django-ratelimit": Contender(viewed(bare, "/django-ratelimit")),
        "django-smart-ratelimit": Contender(viewed(bare, "/django-smart-ratelimit")),
    }


def handler(*middleware: str) -> BaseHandler:
    settings.MIDDLEWARE = list(middleware)
    made = BaseHandler()
    made.load_middleware()
    return made


def viewed(handler: BaseHandler, path: str) -> Measure:
    factory = RequestFactory(REMOTE_ADDR=ALICE)

    def measure(calls: int) -> float:
        requests = [factory.get(path) for _ in range(calls + 1)]  # not timed
        answers = map(handler.get_response, requests)
        took = timed(lambda: next(answers))(calls)
        assert handler.get_response(factory.get(path)).status_code == 200
        return took

    return measure


GROUPS = {"sync": sync, "async": asynchronous, "refused": refused, "view": view}


def taken(contenders: Mapping[str, Contender], turns: int, calls: int) -> dict[str, float]:
    """One round: the contenders take turns."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(turns):
        for name, contender in contenders.items():
            found[name].append(contender.measure(calls))
    return {name: median(times) for name, times in found.items()}


def server_time(contender: Contender, calls: int) -> float:
    """Microseconds of the server a call, after the server has begun to count anew."""
    state = client(Role.STATE)
    state.config_resetstat()
    contender.measure(calls)
    return limits.server_time(state.info("commandstats"), contender.commands)


def do(job: dict, go: Callable[[], None]) -> dict:
    with loop() as runner:
        contenders = GROUPS[job["group"]](runner)
        for contender in contenders.values():
            contender.measure(1)  # connects
        go()
        rounds = [taken(contenders, job["turns"], job["calls"]) for _ in range(job["rounds"])]
        server = {name: server_time(each, job["turns"] * job["calls"]) for name, each in contenders.items()}
        return {"took": {name: [one[name] for one in rounds] for name in contenders}, "server": server}


if __name__ == "__main__":
    limits.be_patient()
    crew.serve(do, sys.stdin, sys.stdout)
