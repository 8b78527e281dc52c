"""What the dashboard shows: counters of the last hour and of all time, and each Redis role's own report.

One pipeline for the counters and one INFO a role, each with the client's timeout, so an outage delays the page by
seconds at most and shows as words on it.
"""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError, ResponseError

from intellicolab.redis import keys
from intellicolab.redis.client import READ_TIMEOUT, Purpose, Role, address_of, client, reports

MINUTES = 60


@dataclass(frozen=True, slots=True)
class Family:
    """The counters of one family by field: a mapping a minute, oldest first, and the totals since the beginning."""

    minutes: list[dict[str, int]]
    totals: dict[str, int]

    def hour(self) -> Counter[str]:
        summed: Counter[str] = Counter()
        for minute in self.minutes:
            summed.update(minute)
        return summed


@dataclass(frozen=True, slots=True)
class Server:
    """What one role's server says of itself; `error` in words when it says nothing. Sizes in bytes."""

    role: Role
    error: str = ""
    run_id: str = ""
    version: str = ""
    used_memory: int = 0
    max_memory: int = 0  # 0: no bound but the machine's
    policy: str = ""
    clients: int = 0
    max_clients: int = 0
    operations: int = 0  # a second, sampled by the server
    evicted: int = 0
    uptime: int = 0  # seconds
    keys: int = 0  # of this role's logical database


def families(*names: str, now: float | None = None) -> dict[str, Family]:
    """The families' counters, one round trip. Raises RedisError or OSError."""
    last = int((time.time() if now is None else now) // 60)
    minutes = range(last - MINUTES + 1, last + 1)
    pipeline = client(Role.STATE).pipeline(transaction=False)
    for name in names:
        pipeline.hgetall(keys.counters_total(name))
        for minute in minutes:
            pipeline.hgetall(keys.counters_minute(name, minute))
    answers = iter([_numbers(answer) for answer in pipeline.execute()])
    found = {}
    for name in names:
        totals = next(answers)
        found[name] = Family([next(answers) for _ in minutes], totals)
    return found


def server(role: Role) -> Server:
    """The role's INFO; an outage is an answer too."""
    try:
        return _server(role, reports(role))
    except (RedisError, OSError) as error:
        return Server(role, error=reason(error))


def reason(error: Exception) -> str:
    """An outage in words for a page: the library's own text may carry addresses and paths, and names whole commands."""
    if isinstance(error, ResponseError):
        return f"a refusal: {str(error).rpartition('caused error: ')[2].rstrip('.')}"
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return f"no answer within {READ_TIMEOUT[Purpose.COMMAND]:g} s"
    return "no connection"


def _server(role: Role, reports: list[dict[str, Any]]) -> Server:
    """One role's servers as one: a Cluster's primaries are added up, and the youngest tells how long it runs."""
    database = f"db{address_of(role).db}"
    return Server(
        role,
        run_id=" ".join(sorted(str(info.get("run_id", "")) for info in reports)),
        version=_distinct(f"{_product(info)} {_version(info)}" for info in reports),
        used_memory=_sum(reports, "used_memory"),
        max_memory=_sum(reports, "maxmemory"),
        policy=_policy(reports),
        clients=_sum(reports, "connected_clients"),
        max_clients=_sum(reports, "maxclients"),
        operations=_sum(reports, "instantaneous_ops_per_sec"),
        evicted=_sum(reports, "evicted_keys"),
        uptime=min(int(info.get("uptime_in_seconds", 0)) for info in reports),
        keys=_sum([info.get(database, {}) for info in reports], "keys"),
    )


def _sum(reports: list[dict[str, Any]], name: str) -> int:
    return sum(int(info.get(name, 0)) for info in reports)


def _distinct(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def _policy(reports: list[dict[str, Any]]) -> str:
    """Where the nodes differ, one that evicts: that is the one to know of."""
    policies = {str(info.get("maxmemory_policy", "")) for info in reports}
    return min(policies, key=lambda policy: (policy in ("", "noeviction"), policy))


def _product(info: dict[str, Any]) -> str:
    return str(info.get("server_name", "redis")).title()


def _version(info: dict[str, Any]) -> str:
    return str(info.get("valkey_version") or info.get("redis_version", ""))


def _numbers(fields: dict[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): int(value) for name, value in fields.items()}
