"""The dashboard's content: the verdict in words, the tiles, and the tables below them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from django.utils import timezone
from redis.exceptions import RedisError

from intellicolab.events import problems as event_problems
from intellicolab.jobs import problems as job_problems
from intellicolab.redis.client import Role
from ratelimit import statistics

from . import broker, queries
from .caching import HITS, CacheRow, Reads, by_outcome, cache_rows
from .figures import compact, duration, percent, share, size
from .limiting import LimitRow, OffenderRow, limit_rows, offender_rows, place_rows
from .queries import Family, Server
from .sparkline import Sparkline, sparkline
from .tiles import Tile
from .waiting import BufferRow, LockRow, buffer_rows, lock_rows

# Where a figure becomes a problem: a cache costs more than it saves, memory runs out, or clients are refused.
HIT_RATIO_LOW = 50.0  # per cent, of the last hour's reads
HIT_RATIO_READS = 1000  # fewer say nothing: a fresh start misses everything once
MEMORY_HIGH = 90.0  # per cent of maxmemory
CLIENTS_HIGH = 80.0  # per cent of maxclients

_ROLE_LOSS = {
    Role.STATE: "nobody can sign in, limits are not enforced, and messages reach open rooms with a delay",
    Role.CACHE: "pages are read from the database and are slower",
}


@dataclass(slots=True)
class Overview:
    made_at: datetime
    problems: list[str] = field(default_factory=list)
    tiles: list[Tile] = field(default_factory=list)
    cache_rows: list[CacheRow] = field(default_factory=list)
    limit_rows: list[LimitRow] = field(default_factory=list)
    offenders: list[OffenderRow] = field(default_factory=list)
    refused_places: list[tuple[str, int]] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    buffers: list[BufferRow] = field(default_factory=list)
    locks: list[LockRow] = field(default_factory=list)
    counters_error: str = ""


def overview() -> Overview:
    """Everything on the page; whatever cannot be read is said in words instead."""
    with ThreadPoolExecutor(len(Role)) as pool:  # two servers that hang delay the page no longer than one
        page = Overview(timezone.now(), servers=list(pool.map(queries.server, Role)))
    state = page.servers[0]
    try:
        if state.error:  # the counters are on the server that has just not answered: don't wait again
            raise RedisError(state.error)
        families = queries.families("cache", "limit")
        page.buffers, page.locks = buffer_rows(), lock_rows()
        page.offenders, page.refused_places = offender_rows(), place_rows()
        page.problems += [*watched(), *broker.dead_problems()]
    except (RedisError, OSError) as error:
        page.counters_error = state.error or queries.reason(error)
    else:
        _add_cache(page, families["cache"])
        _add_limits(page, families["limit"])
    _add_servers(page)
    page.problems += [problem for row in page.buffers for problem in row.problems()]
    page.problems += [tile.note for tile in page.tiles if tile.problem]
    return page


def watched() -> list[str]:
    """What the watch over events and jobs tells of as well. Raises RedisError."""
    found = [*event_problems.found(), *job_problems.found()]
    return list({problem.key: problem.sentence for problem in found}.values())  # without a worker both say so


# --- Cache ---------------------------------------------------------------------------------------------------------


def _add_cache(page: Overview, family: Family) -> None:
    reads = Reads.of(by_outcome(family.hour()))
    low = reads.ratio is not None and reads.ratio < HIT_RATIO_LOW and reads.all >= HIT_RATIO_READS
    page.tiles += [
        Tile(
            "Cache hit ratio",
            percent(reads.ratio, "no reads"),
            exact=f"{reads.hits:,} hits of {reads.all:,} reads in the last hour",
            note=f"Only {percent(reads.ratio)} of the cache reads of the last hour were hits."
            if low
            else _all_time(family),
            bounds=f"above {HIT_RATIO_LOW:g} %",
            problem=low,
        ),
        _cache_tile(family, "Cache hits", reads.hits, HITS),
        _cache_tile(family, "Cache misses", reads.misses, ("miss",)),
    ]
    page.cache_rows = cache_rows(family)


def _cache_tile(family: Family, label: str, count: int, outcomes: Sequence[str]) -> Tile:
    trend = [sum(by_outcome(minute)[outcome] for outcome in outcomes) for minute in family.minutes]
    return Tile(
        label,
        compact(count),
        exact=f"{count:,} in the last hour",
        note="in the last hour",
        spark=sparkline(trend, f"{label} of the last hour"),
    )


def _all_time(family: Family) -> str:
    ratio = Reads.of(by_outcome(family.totals)).ratio
    return "last hour" if ratio is None else f"last hour; {percent(ratio)} since the beginning"


# --- Limits --------------------------------------------------------------------------------------------------------


def _trend(family: Family, field: str, label: str) -> Sparkline:
    return sparkline([minute.get(field, 0) for minute in family.minutes], label)


def _add_limits(page: Overview, family: Family) -> None:
    hour = family.hour()
    for outcome, label in ((statistics.ALLOWED, "Requests allowed"), (statistics.REFUSED, "Requests refused")):
        name = statistics.field(statistics.SITE, outcome)
        page.tiles.append(
            Tile(
                label,
                compact(hour[name]),
                exact=f"{hour[name]:,} in the last hour",
                note="in the last hour",
                spark=_trend(family, name, f"{label} of the last hour"),
            )
        )
    page.tiles.append(_unchecked(family, hour[OPENED]))
    page.limit_rows = limit_rows(family)


OPENED = statistics.field(statistics.SITE, statistics.OPEN)


def _unchecked(family: Family, count: int) -> Tile:
    note = f"{count:,} requests of the last hour passed without a limit: Redis did not answer in time."
    return Tile(
        "Passed without a limit",
        compact(count),
        exact=f"{count:,} in the last hour",
        note=note if count else "in the last hour",
        bounds="0",
        problem=count > 0,
        spark=_trend(family, OPENED, "Requests of the last hour that passed without a limit"),
    )


# --- Redis ---------------------------------------------------------------------------------------------------------


def _add_servers(page: Overview) -> None:
    for server in page.servers:
        if server.error:
            page.problems.append(f"Redis {server.role}: {server.error}. Until it is back, {_ROLE_LOSS[server.role]}.")
    answering = [server for server in page.servers if not server.error]
    one = len({server.run_id for server in answering}) == 1 and len(answering) > 1
    for server in answering[:1] if one else answering:
        name = "Redis" if one else f"Redis {server.role}"
        page.tiles += [_memory(name, server), _clients(name, server), _operations(name, server)]
    for server in answering:
        if server.role is Role.STATE and server.policy not in ("", "noeviction"):
            page.problems.append(
                f"Redis state may evict keys ({server.policy}): sessions would vanish when memory runs short. "
                "Set maxmemory-policy noeviction."
            )


def _memory(name: str, server: Server) -> Tile:
    used = share(server.used_memory, server.max_memory)
    high = used is not None and used >= MEMORY_HIGH
    full = f"{name} uses {percent(used)} of its memory."
    of = f"of {size(server.max_memory)}" if server.max_memory else "no bound is set"
    bounds = f"below {MEMORY_HIGH:g} %" if server.max_memory else ""
    return Tile(
        f"{name} memory", size(server.used_memory), f"{server.used_memory:,} bytes", full if high else of, bounds, high
    )


def _clients(name: str, server: Server) -> Tile:
    used = share(server.clients, server.max_clients)
    high = used is not None and used >= CLIENTS_HIGH
    note = f"{name} has {server.clients:,} of {server.max_clients:,} connections." if high else "open now"
    bounds = f"below {server.max_clients * CLIENTS_HIGH / 100:,.0f}" if server.max_clients else ""
    return Tile(f"{name} connections", compact(server.clients), f"{server.clients:,}", note, bounds, high)


def _operations(name: str, server: Server) -> Tile:
    note = f"running for {duration(server.uptime)}"
    return Tile(f"{name} operations", f"{compact(server.operations)} /s", f"{server.operations:,} a second", note)
