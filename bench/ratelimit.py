"""The limiter: what a decision, a refusal and the middleware cost, and whether exactly the limit is admitted.

The project's own settings, models and embedded Valkey, in a folder of their own; every contender uses the same server
through the same Unix socket. Ratios are those of one round, whose contenders took turns.
"""

import http.client
import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import median
from typing import Any, NamedTuple

from bench.cache import installation
from bench.harness.crew import Crew, crew
from bench.harness.load import rates
from bench.harness.processes import ROOT, free_port, pin, pin_all, processor_time, python, server
from bench.harness.results import Row, at_least, at_most, table
from bench.harness.rounds import interleaved
from intellicolab.redis.embedded import EmbeddedServer

SERVER_CORE, CLIENT_CORE = 0, 1

# --- What is measured ------------------------------------------------------------------------------------------------

ROUNDS = 9
TURNS, CALLS = 40, 10  # of each contender in a round; the fewer calls, the more it is cold caches that are measured

PROCESSES, THREADS, REQUESTS = 4, 20, 25  # requests of a thread
LIMIT = 100  # a minute
CROWDS = 3

CONNECTIONS = 32
SECONDS = 1.0
LOAD_ROUNDS = 7

PING, FIXED, SLIDING = "PING", "IntelliColab, fixed window", "IntelliColab, sliding window"
THREE, HOPPED = "IntelliColab, three rules", "IntelliColab, sync in a thread"
LIMITS_FIXED, LIMITS_THREE = "limits, fixed window", "limits, three calls"
PEERS = (
    LIMITS_FIXED,
    "limits, sliding window",
    "throttled-py, fixed window",
    "throttled-py, sliding window",
    "pyrate-limiter",
    "Django REST framework",
    "django-ratelimit",
    "django-smart-ratelimit",
)
BY_DECORATOR = ("django-ratelimit", "django-smart-ratelimit")

COSTS = (
    f"costs: one process on a core, the server on another, Unix socket, statistics on; median of {ROUNDS} rounds, each "
    f"the median of {TURNS} turns of {CALLS} calls ({CALLS * 20} of what stays in the process), taken in turn; a ratio "
    "is that of a round"
)
EXACT = (
    f"exactness: {PROCESSES * THREADS * REQUESTS:,} requests of one identity from {PROCESSES} processes with {THREADS} "
    f"threads each, all at once, against {LIMIT} a minute; ours: the furthest from {LIMIT} of {CROWDS} runs, peers: "
    "the median"
)
REFUSALS = (
    f"refusals: everything is refused, {CONNECTIONS} keep-alive connections, server on one core, client on another, "
    f"median of {LOAD_ROUNDS} interleaved rounds of {SECONDS} s; ratios by the server's processor time"
)

# --- Policies --------------------------------------------------------------------------------------------------------

FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET = 1, 2, 3  # as in ratelimit.rules

Fields = dict[str, Any]


def policy(name: str, subject: str, algorithm: int, limit: str) -> Fields:
    return {
        "name": name,
        "subject": subject,
        "algorithm": algorithm,
        "limit": limit,
        "mode": "enforce",
        "identity": "address",
    }


def one_and_three(limit: str) -> list[Fields]:
    """One for requests, one for openings of a socket, three for frames."""
    return [
        policy("fixed", "request", FIXED_WINDOW, limit),
        policy("sliding", "connect", SLIDING_WINDOW, limit),
        policy("first", "frame", FIXED_WINDOW, limit),
        policy("second", "frame", SLIDING_WINDOW, limit),
        policy("third", "frame", TOKEN_BUCKET, limit),
    ]


AMPLE = one_and_three("100000000/min")  # as in bench/clients/limits.py: more than anybody asks
BOUNDED = one_and_three(f"{LIMIT}/min")
SPENT = [policy("spent", "request", FIXED_WINDOW, "1/hour")]


def have(policies: list[Fields], environment: Mapping[str, str]) -> None:
    """These and no others, for processes that start now."""
    command = python("-m", "bench.clients.limit_policies", json.dumps(policies))
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


@contextmanager
def prepared() -> Iterator[tuple[EmbeddedServer, dict[str, str]]]:
    """A server, the environment of processes that use it, and a database with all tables."""
    with installation() as (valkey, environment):
        migrate = python("manage.py", "migrate", "--verbosity", "0")
        subprocess.run(migrate, cwd=ROOT, env=environment, check=True)
        yield valkey, environment


def run() -> list[Row]:
    with prepared() as (valkey, environment):
        have(BOUNDED, environment)
        with crew("bench.clients.limit_crowd", PROCESSES, environment) as crowd:
            admitted = exactness(crowd)
        pin_all(valkey.pid or 0, SERVER_CORE)
        have(AMPLE, environment)
        with crew("bench.clients.limits", 1, environment, CLIENT_CORE) as caller:
            costs = decisions(caller, admitted) + middleware(caller)
        have(SPENT, environment)
        with crew("bench.clients.limits", 1, environment, CLIENT_CORE) as caller:
            costs += remembered(caller)
        return [*costs, *refusals(environment), exact(admitted)]


# --- Costs -----------------------------------------------------------------------------------------------------------


class Costs(NamedTuple):
    """Microseconds a call: of each round, and those of the server."""

    took: dict[str, list[float]]
    server: dict[str, float]

    def each(self, name: str) -> float:
        return median(self.took[name])

    def times_ping(self, name: str) -> float:
        return median(one / ping for one, ping in zip(self.took[name], self.took[PING], strict=True))


def costs_of(caller: Crew, group: str) -> Costs:
    job = {"group": group, "rounds": ROUNDS, "turns": TURNS, "calls": CALLS}
    found = Costs(**caller.do([job])[0])
    print(f"  {group:<8}" + "".join(f"  {name} {found.each(name):,.1f} µs" for name in found.took), flush=True)
    return found


def decisions(caller: Crew, admitted: Mapping[str, list[int]]) -> list[Row]:
    sync, asynchronous = costs_of(caller, "sync"), costs_of(caller, "async")
    show(sync, admitted)
    others = (*PEERS, PING)
    return [
        against_ping("one rule, fixed window, against PING", sync, FIXED, 1.3, PEERS),
        against_ping("one rule, sliding window, against PING", sync, SLIDING, 1.3, PEERS),
        against_ping("three rules, one call, against PING", sync, THREE, 1.6, (LIMITS_THREE,)),
        against_ping("one rule, asyncio, against PING", asynchronous, FIXED, 1.35, (SLIDING, HOPPED, LIMITS_FIXED)),
        told("one rule, fixed window", {name: sync.each(name) for name in (FIXED, SLIDING, THREE, *others)}),
        told("one rule, fixed window: of the server", {name: sync.server[name] for name in (FIXED, THREE, *others)}),
        told("one rule, asyncio", {name: asynchronous.each(name) for name in (FIXED, HOPPED, LIMITS_FIXED, PING)}),
    ]


def against_ping(figure: str, found: Costs, name: str, bar: float, peers: tuple[str, ...]) -> Row:
    theirs = {peer: found.times_ping(peer) for peer in peers}
    return at_most(figure, found.times_ping(name), "times", bar, theirs, COSTS)


def told(figure: str, found: Mapping[str, float], unit: str = "µs", conditions: str = COSTS) -> Row:
    """A figure without a bar: the first, and its peers."""
    ours = next(iter(found))
    peers = {name: value for name, value in found.items() if name != ours}
    return Row(figure, found[ours], unit, peers=peers, conditions=conditions)


def show(sync: Costs, admitted: Mapping[str, list[int]]) -> None:
    lines = {
        name: (sync.each(name), sync.times_ping(name), sync.server[name], middle(admitted[name]))
        for name in (FIXED, SLIDING, *PEERS)
    }
    table("One rule", ("µs a call", "times PING", "server µs", f"admitted of {LIMIT}"), lines)


def middleware(caller: Crew) -> list[Row]:
    found = costs_of(caller, "view")

    def added(name: str) -> list[float]:
        return [limited - bare for limited, bare in zip(found.took[name], found.took["without"], strict=True)]

    def times(name: str, yardstick: list[float]) -> float:
        return median(more / one for more, one in zip(added(name), yardstick, strict=True))

    ping, pinged = found.took[PING], added("with a PING")
    names = {"the middleware": "with", "a middleware that sends a PING": "with a PING"} | {n: n for n in BY_DECORATOR}
    microseconds = {label: median(added(name)) for label, name in names.items()}
    peers = {name: times(name, ping) for name in BY_DECORATOR}
    return [
        at_most("middleware: time added, against PING", times("with", ping), "times", 1.5, peers, COSTS),
        Row("middleware: against one that sends a PING", times("with", pinged), "times", conditions=COSTS),
        told("middleware: time added", {**microseconds, PING: found.each(PING), "the view": found.each("without")}),
    ]


def remembered(caller: Crew) -> list[Row]:
    found = costs_of(caller, "refused")
    return [
        at_most("refused identity, remembered", found.each("remembered"), "µs", 2, {}, COSTS),
        told("remembered refusal: the whole decision", {"decide": found.each("decide")}),
        told("remembered refusal: the shield's look", {"shield": found.each("shield")}),
    ]


# --- Exactness -------------------------------------------------------------------------------------------------------


def exactness(crowd: Crew) -> dict[str, list[int]]:
    """How many each contender admitted, in each run."""
    found: dict[str, list[int]] = {name: [] for name in (FIXED, SLIDING, *PEERS)}
    for _ in range(CROWDS):
        address = f"198.18.{1 + secrets.randbelow(255)}.{secrets.randbelow(256)}"
        for name, runs in found.items():
            runs.append(crowded(crowd, name, address))
    return found


def crowded(crowd: Crew, name: str, address: str) -> int:
    job = {"contender": name, "address": address, "most": LIMIT, "threads": THREADS, "requests": REQUESTS}
    return sum(one["admitted"] for one in crowd.do([job] * PROCESSES))


def middle(runs: list[int]) -> float:
    """A window that ends meanwhile admits its limit twice, so one run says little."""
    return median(runs)


def exact(admitted: Mapping[str, list[int]]) -> Row:
    worst = max(admitted[FIXED] + admitted[SLIDING], key=lambda count: abs(count - LIMIT))
    peers = {name: middle(admitted[name]) for name in PEERS}
    return Row(f"admitted against {LIMIT}/min", worst, "requests", LIMIT, worst == LIMIT, peers, EXACT)


# --- Refusals --------------------------------------------------------------------------------------------------------


def uvicorn(application: str, port: int) -> list[str]:
    quiet = ("--log-level", "warning", "--no-access-log", "--no-proxy-headers", "--lifespan", "off")
    return python("-m", "uvicorn", "--port", str(port), *quiet, f"bench.sites.limit_refusals:{application}")


def daphne(application: str, port: int) -> list[str]:
    return python("-m", "daphne", "-v", "0", "-p", str(port), f"bench.sites.limit_refusals:{application}")


Command = Callable[[str, int], list[str]]
Measure = Callable[[], tuple[float, ...]]

SERVERS: dict[str, Command] = {"uvicorn": uvicorn, "Daphne": daphne}
BEFORE, BY_MIDDLEWARE = "before Django", "by the middleware"
APPLICATIONS = {
    BEFORE: "with_shield",
    BY_MIDDLEWARE: "without_shield",
    "by the middleware in Django's own handler": "in_django",
    "by nobody: the server alone": "bare",
}


def refusals(environment: Mapping[str, str]) -> list[Row]:
    pin(CLIENT_CORE)
    with ExitStack() as running:
        contenders = {
            f"{name}, {label}": running.enter_context(loaded(command, application, environment))
            for name, command in SERVERS.items()
            for label, application in APPLICATIONS.items()
        }
        found = interleaved(contenders, LOAD_ROUNDS)
    by_wall = {name: median(wall for wall, _ in rounds) for name, rounds in found.items()}
    by_processor = {name: median(rate for _, rate in rounds) for name, rounds in found.items()}
    return [row for name in SERVERS for row in rows_of(name, by_wall, by_processor)]


@contextmanager
def loaded(command: Command, application: str, environment: Mapping[str, str]) -> Iterator[Measure]:
    """What measures a server that stays: requests a second of wall time, and of its processor time."""
    port = free_port()
    with server(command(application, port), port, core=SERVER_CORE, environment=environment) as child:
        spend(port)
        clocks = (time.perf_counter, processor_time(child))
        yield partial(rates, port, CONNECTIONS, SECONDS, clocks, status=429)


def spend(port: int) -> None:
    """Send the one request that is admitted; from then on all are refused."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(2):
        connection.request("GET", "/")
        connection.getresponse().read()
    connection.close()


def rows_of(name: str, by_wall: Mapping[str, float], by_processor: Mapping[str, float]) -> list[Row]:
    wall = {label: by_wall[f"{name}, {label}"] for label in APPLICATIONS}
    processor = {label: by_processor[f"{name}, {label}"] for label in APPLICATIONS}
    times, figure = processor[BEFORE] / processor[BY_MIDDLEWARE], f"{name}: refusals, against the middleware's"
    return [
        told(f"{name}: refusals before Django", wall, "requests/s", REFUSALS),
        told(f"{name}: processor time", {label: 1e6 / rate for label, rate in processor.items()}, "µs", REFUSALS),
        at_least(figure, times, "times", 5, {}, REFUSALS)
        if name == "uvicorn"
        else Row(figure, times, "times", conditions=REFUSALS),
    ]
