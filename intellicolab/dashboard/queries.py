"""What the dashboard shows: counters of the last hour and of all time, and each Redis role's own report.

One pipeline for the counters and one INFO a role, each with the client's timeout, so an outage delays the page by
seconds at most and shows as words on it.
"""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from intellicolab.redis import keys
from intellicolab.redis.client import READ_TIMEOUT, Purpose, Role, client

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
        return _server(role, client(role).info())
    except (RedisError, OSError) as error:
        return Server(role, error=reason(error))


def reason(error: Exception) -> str:
    """An outage in words for a page: the library's own text may carry addresses and paths."""
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return f"no answer within {READ_TIMEOUT[Purpose.COMMAND]:g} s"
    return "no connection"


def _server(role: Role, info: dict[str, Any]) -> Server:
    database = client(role).connection_pool.connection_kwargs.get("db", 0)
    return Server(
        role,
        run_id=str(info.get("run_id", "")),
        version=f"{_product(info)} {info.get('valkey_version') or info.get('redis_version', '')}",
        used_memory=int(info.get("used_memory", 0)),
        max_memory=int(info.get("maxmemory", 0)),
        policy=str(info.get("maxmemory_policy", "")),
        clients=int(info.get("connected_clients", 0)),
        max_clients=int(info.get("maxclients", 0)),
        operations=int(info.get("instantaneous_ops_per_sec", 0)),
        evicted=int(info.get("evicted_keys", 0)),
        uptime=int(info.get("uptime_in_seconds", 0)),
        keys=int(info.get(f"db{database}", {}).get("keys", 0)),
    )


def _product(info: dict[str, Any]) -> str:
    return str(info.get("server_name", "redis")).title()


def _numbers(fields: dict[bytes, bytes]) -> dict[str, int]:
    return {name.decode(): int(value) for name, value in fields.items()}
