"""The cache and the lock: what a hit costs, who waits when a value expires, and how fast a lock changes hands.

The project's own settings and embedded Valkey, in a folder of their own. Every contender uses the same server through
the same Unix socket, and loads the same value in the same time.
"""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import redis

from bench.harness.crew import Crew, crew
from bench.harness.processes import pin_all
from bench.harness.results import Row, at_least, at_most, table
from intellicolab.redis.embedded import EmbeddedServer

SERVER_CORE, CLIENT_CORE = 0, 1

# --- What is measured ------------------------------------------------------------------------------------------------

CALL_ROUNDS = 600
PROCESSES = 4
LOAD_MS = 200.0

STAMPEDE_READERS = 200
STAMPEDE_ROUNDS = 3

STEADY_READERS = 16
STEADY_SECONDS = 7.0
STEADY_PAUSE = 0.01  # between two reads of a reader
# A read that took so long waited for a load. Who loads waits for all of it, so a wait at an expiry always shows; less
# than this can be threads that wait for their turn on a busy machine.
WAITED_MS = LOAD_MS * 3 / 4

CONTENDERS = 50
LOCK_ROUNDS = 3

LONG_TTL, STEADY_TTL = 300, 2  # as in bench/sites/caches.py

OURS, OURS_ASYNC = "IntelliColab, threads", "IntelliColab, asyncio"
CACHES = (OURS, OURS_ASYNC, "django-redis get_or_set", "django-redis HerdClient", "dogpile.cache", "cashews")
LOCKS = {
    OURS: ("redis-py, threads, sleep 0.1", "redis-py, threads, sleep 0.01"),
    OURS_ASYNC: ("redis-py, asyncio, sleep 0.1", "redis-py, asyncio, sleep 0.01"),
}

CALLS = (
    f"calls: one process on a core, the server on another, Unix socket; 5th percentile of {CALL_ROUNDS} rounds of a "
    "few calls, taken in turn; raw calls use the same connection pool"
)
STAMPEDE = (
    f"stampede: {STAMPEDE_READERS} readers in {PROCESSES} processes, all at once, nothing cached, {LOAD_MS:.0f} ms to "
    f"load; most runs of the loader and median times of {STAMPEDE_ROUNDS} rounds"
)
STEADY = (
    f"steady: {STEADY_READERS} readers in {PROCESSES} processes, each reading every {STEADY_PAUSE * 1000:.0f} ms for "
    f"{STEADY_SECONDS:.0f} s, time to live {STEADY_TTL} s, {LOAD_MS:.0f} ms to load; waited: took "
    f"{WAITED_MS:.0f} ms or more"
)
HANDOVER = (
    f"hand-over: {CONTENDERS} contenders in {PROCESSES} processes, all at once, each once for 1 ms, which is "
    f"counted; medians of {LOCK_ROUNDS} rounds"
)


@contextmanager
def installation() -> Iterator[tuple[EmbeddedServer, dict[str, str]]]:
    """A server, and the environment of processes that use it."""
    with tempfile.TemporaryDirectory(prefix="ic-bench-") as folder:
        ours = {"VAR_DIR": folder, "SECRET_KEY": secrets.token_urlsafe(50), "LOG_LEVEL": "WARNING"}
        foreign = {"REDIS_URL", "REDIS_CACHE_URL", "DATABASE_URL", "PUBLIC_URL", "ALLOWED_HOSTS"}
        environment = {name: value for name, value in os.environ.items() if name not in foreign}
        environment |= ours | {"DJANGO_SETTINGS_MODULE": "intellicolab.settings"}
        server = EmbeddedServer(Path(folder) / "redis")
        server.start()
        try:
            yield server, environment
        finally:
            server.stop()


def run() -> list[Row]:
    with installation() as (server, environment):
        with crew("bench.clients.cache_crowd", PROCESSES, environment) as readers:
            crowds = [*stampede(readers, server), *steady(readers, server), *handover(readers)]
        pin_all(server.pid or 0, SERVER_CORE)
        with crew("bench.clients.cache_calls", 1, environment, CLIENT_CORE) as caller:
            return [*calls(caller), *crowds]


# --- Calls -----------------------------------------------------------------------------------------------------------


def calls(caller: Crew) -> list[Row]:
    local, remote, aremote, many, lock, alock = (
        called(caller, group) for group in ("local", "remote", "aremote", "many", "lock", "alock")
    )
    times = local["django-redis get"] / local["local hit"]
    return [
        cost("local hit", local, "local hit"),
        at_least("local hit, against django-redis", times, "times", 50, {}, CALLS),
        cost("remote hit", remote, "get"),
        bounded_cost("remote hit, against a raw GET", remote, "get", "raw GET", 1.3),
        cost("remote hit, asyncio", aremote, "aget"),
        bounded_cost("remote hit, asyncio, against a raw GET", aremote, "aget", "raw GET", 1.35),
        cost("get_many of 100", many, "get_many"),
        bounded_cost("get_many, against MGET", many, "get_many", "raw MGET, decoded", 1.5),
        cost("lock, acquire and release", lock, "acquire, release"),
        cost("lock, acquire and release, asyncio", alock, "acquire, release"),
    ]


def called(caller: Crew, group: str) -> dict[str, float]:
    """The microseconds a call of each contender."""
    rounds = caller.do([{"group": group, "rounds": CALL_ROUNDS}])[0]
    # Other programs only ever add time; a low percentile is what a call costs where they do not.
    found = {name: quantiles(times, n=20)[0] for name, times in rounds.items()}
    print(f"  {group:<10}" + "".join(f"  {name} {cost:,.1f} µs" for name, cost in found.items()), flush=True)
    return found


def cost(figure: str, found: dict[str, float], ours: str) -> Row:
    peers = {name: value for name, value in found.items() if name != ours}
    return Row(figure, found[ours], "µs", peers=peers, conditions=CALLS)


def bounded_cost(figure: str, found: dict[str, float], ours: str, other: str, bar: float) -> Row:
    return at_most(figure, found[ours] / found[other], "times", bar, {}, CALLS)


# --- Crowds ----------------------------------------------------------------------------------------------------------


class Waits(NamedTuple):
    """What the readers of one key met; times in milliseconds."""

    loads: float
    p50: float
    p99: float
    longest: float
    waited: float  # percent of the reads


def jobs(**job: object) -> list[dict]:
    """One a process; `readers` are shared out."""
    readers = int(str(job.pop("readers")))
    return [{**job, "readers": len(range(at, readers, PROCESSES))} for at in range(PROCESSES)]


def reading(readers: Crew, server: EmbeddedServer, contender: str, job: dict) -> Waits:
    key = f"{contender}-{secrets.token_hex(4)}".replace(" ", "-").replace(",", "")
    found = readers.do(jobs(what="cache", contender=contender, key=key, **job))
    waits = [wait * 1000 for wait in chain.from_iterable(one["waits"] for one in found)]
    with redis.Redis(unix_socket_path=str(server.socket)) as state:
        loads = int(state.get(f"bench:loads:{key}") or 0)
    cuts = quantiles(waits, n=100, method="inclusive")
    waited = 100 * sum(wait >= WAITED_MS for wait in waits) / len(waits)
    return Waits(loads, cuts[49], cuts[98], max(waits), waited)


def stampede(readers: Crew, server: EmbeddedServer) -> list[Row]:
    job = {"readers": STAMPEDE_READERS, "ttl": LONG_TTL, "seconds": 0, "pause": 0}
    rounds: dict[str, list[Waits]] = {name: [] for name in CACHES}
    for _ in range(STAMPEDE_ROUNDS):
        for name in CACHES:
            rounds[name].append(reading(readers, server, name, job))
    found = {name: middle(waits) for name, waits in rounds.items()}
    # Here all wait, so who waited says nothing.
    table("Stampede", COLUMNS, {name: waits[:-1] for name, waits in found.items()})
    return [
        *(bounded(f"stampede: loader runs, {name}", found, name, "loads", 1, STAMPEDE) for name in (OURS, OURS_ASYNC)),
        *(told(f"stampede: {label}", found, field, STAMPEDE) for field, label in TOLD.items()),
    ]


def steady(readers: Crew, server: EmbeddedServer) -> list[Row]:
    job = {"readers": STEADY_READERS, "ttl": STEADY_TTL, "seconds": STEADY_SECONDS, "pause": STEADY_PAUSE}
    # The first value is there before the readers come: its load is the stampede's matter.
    found = {name: reading(readers, server, name, {**job, "prepared": True}) for name in CACHES}
    table("Steady reads across expiries", (*COLUMNS, "waited %"), found)
    return [
        *(bounded(f"steady: reads that waited, {name}", found, name, "waited", 0, STEADY) for name in OUR_FORMS),
        *(told(f"steady: {label}", found, field, STEADY) for field, label in {**TOLD, "loads": "loader runs"}.items()),
    ]


COLUMNS = ("loader runs", "p50 ms", "p99 ms", "longest ms")
OUR_FORMS = (OURS, OURS_ASYNC)
TOLD = {"p50": "half of the reads, within", "p99": "99 % of the reads, within", "longest": "the longest read"}


def middle(rounds: list[Waits]) -> Waits:
    """The most loads, the medians of the rest."""
    return Waits(max(one.loads for one in rounds), *map(median, list(zip(*rounds, strict=True))[1:]))


def bounded(figure: str, found: dict[str, Waits], name: str, field: str, bar: float, conditions: str) -> Row:
    peers = {peer: getattr(waits, field) for peer, waits in found.items() if peer not in OUR_FORMS}
    unit = "%" if field == "waited" else "runs"
    return at_most(figure, getattr(found[name], field), unit, bar, peers, conditions)


def told(figure: str, found: dict[str, Waits], field: str, conditions: str) -> Row:
    peers = {name: getattr(waits, field) for name, waits in found.items() if name != OURS}
    return Row(figure, getattr(found[OURS], field), "runs" if field == "loads" else "ms", None, True, peers, conditions)


# --- Locks -----------------------------------------------------------------------------------------------------------


def handover(readers: Crew) -> list[Row]:
    names = [name for ours, theirs in LOCKS.items() for name in (ours, *theirs)]
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(LOCK_ROUNDS):
        for name in names:
            rounds[name].append(contending(readers, name))
    found = {name: tuple(map(median, zip(*one, strict=True))) for name, one in rounds.items()}
    table(f"Lock, {CONTENDERS} contenders", ("ms an acquire", "longest wait ms"), found)
    return [row for ours, theirs in LOCKS.items() for row in handover_rows(found, ours, theirs)]


def contending(readers: Crew, name: str) -> tuple[float, float]:
    """(milliseconds an acquire, from the first to the last; the longest wait)."""
    job = {"key": f"bench:{secrets.token_hex(4)}", "readers": CONTENDERS, "seconds": 0, "pause": 0}
    found = readers.do(jobs(what="lock", contender=name, **job))
    waits = list(chain.from_iterable(one["waits"] for one in found))
    assert len(waits) == CONTENDERS, "somebody did not get the lock"
    took = max(one["ended"] for one in found) - min(one["began"] for one in found)
    return took / CONTENDERS * 1000, max(waits) * 1000


def handover_rows(found: dict[str, tuple[float, ...]], ours: str, theirs: tuple[str, ...]) -> list[Row]:
    form = ours.partition(", ")[2]
    return [
        Row(f"lock, {label}, {form}", found[ours][at], "ms", None, True, {n: found[n][at] for n in theirs}, HANDOVER)
        for at, label in enumerate(("time an acquire", "the longest wait"))
    ]
