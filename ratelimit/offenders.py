"""Who is refused most, and where: added up in process, written once a second, shown for an hour.

Redis knows an offender by a hash. The readable form lies beside it for an hour after the last refusal and no longer.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db import connections

from intellicolab.redis import keys
from intellicolab.redis.client import Role, client
from intellicolab.redis.counters import counters

from .identity import Identity
from .matching import Occasion
from .signals import refused_repeatedly

logger = logging.getLogger("ratelimit")

MOST_WAITING = 1000  # identities, and paths, that one second may add
MOST_KEPT = 1000  # in Redis, of each piece of an hour
PIECES = keys.OFFENDER_NAME_TTL // keys.OFFENDERS_SECONDS + 1


@dataclass(frozen=True, slots=True)
class Offender:
    """`policy` is its primary key, as text; `who` is empty when the hour is over."""

    policy: str
    kind: str
    who: str
    refusals: int


class Offenders:
    """What waits to be written. Thread-safe."""

    def __init__(self) -> None:
        self.start_afresh()
        counters.join(self)

    def start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._identities: Counter[tuple[str, Identity]] = Counter()
        self._places: Counter[str] = Counter()

    def note(self, policy: str, identity: Identity, occasion: Occasion) -> None:
        """Count a refusal."""
        with self._lock:
            _add(self._identities, (policy, identity))
            _add(self._places, _place(occasion))

    @property
    def is_waiting(self) -> bool:
        return bool(self._identities)

    def flush(self) -> None:
        """Write what has been noted, and tell of those who are refused again and again. Raises RedisError, OSError."""
        with self._lock:
            identities, places = self._identities, self._places
            self._forget()
        for policy, identity, refusals in _write(identities, places):
            if refusals - identities[policy, identity] < settings.RATELIMIT_REPEATED <= refusals:
                _tell(policy, identity, refusals)


@lru_cache(maxsize=512)
def _place(occasion: Occasion) -> str:
    """A flood mostly asks for one and the same."""
    return occasion.without_secrets().place


def _add(counts: Counter[Any], what: Any) -> None:
    if what in counts or len(counts) < MOST_WAITING:
        counts[what] += 1


def _write(identities: Counter[tuple[str, Identity]], places: Counter[str]) -> list[tuple[str, Identity, int]]:
    """Returns how often each was refused in this piece of an hour, by all processes."""
    piece = int(time.time() // keys.OFFENDERS_SECONDS)
    pipeline = client(Role.STATE).pipeline(transaction=False)
    for (policy, identity), count in identities.items():
        pipeline.zincrby(keys.offenders(piece), count, f"{policy} {identity.kind} {identity.hashed}")
    for place, count in places.items():
        pipeline.zincrby(keys.refused_paths(piece), count, place)
    for key in (keys.offenders(piece), keys.refused_paths(piece)):
        pipeline.zremrangebyrank(key, 0, -MOST_KEPT - 1)
        pipeline.expire(key, keys.OFFENDERS_TTL)
    for _, identity in identities:
        pipeline.set(keys.offender_name(identity.hashed), identity.readable, ex=keys.OFFENDER_NAME_TTL)
    totals = pipeline.execute(raise_on_error=False)
    return [
        (policy, identity, int(total))
        for (policy, identity), total in zip(identities, totals, strict=False)
        if not isinstance(total, Exception)
    ]


def _tell(policy: str, identity: Identity, refusals: int) -> None:
    _close_old_connections()  # receivers may use the database, from this thread
    told = refused_repeatedly.send_robust(sender=Offenders, policy_id=int(policy), identity=identity, refusals=refusals)
    for receiver, answer in told:
        if isinstance(answer, Exception):
            logger.error("%r failed on a repeated refusal", receiver, exc_info=answer)
    _close_old_connections()


def _close_old_connections() -> None:
    """As Django's, which would cut off who flushes inside a transaction of their own."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


offenders = Offenders()


def top(most: int = 10) -> list[Offender]:
    """Those refused most often in the last hour. Raises RedisError, OSError."""
    found = _sum([keys.offenders(piece) for piece in _pieces()]).most_common(most)
    parts = [(member.split(" "), count) for member, count in found]
    pipeline = client(Role.STATE).pipeline(transaction=False)
    for (_, _, hashed), _ in parts:
        pipeline.get(keys.offender_name(hashed))
    names = pipeline.execute() if parts else []
    return [
        Offender(policy, kind, (name or b"").decode(), count)
        for ((policy, kind, _), count), name in zip(parts, names, strict=True)
    ]


def top_places(most: int = 10) -> list[tuple[str, int]]:
    """The paths and frames refused most often in the last hour. Raises RedisError, OSError."""
    return _sum([keys.refused_paths(piece) for piece in _pieces()]).most_common(most)


def _pieces() -> Iterable[int]:
    last = int(time.time() // keys.OFFENDERS_SECONDS)
    return range(last - PIECES + 1, last + 1)


def _sum(names: list[str]) -> Counter[str]:
    pipeline = client(Role.STATE).pipeline(transaction=False)
    for name in names:
        pipeline.zrevrange(name, 0, 99, withscores=True)
    summed: Counter[str] = Counter()
    for piece in pipeline.execute():
        for member, score in piece:
            summed[member.decode(errors="replace")] += int(score)
    return summed
