"""What people did in the last hour, for the preview of a policy: a sample, in a stream that ends with the hour.

The sample is of people and addresses, not of requests: what is kept of somebody is kept whole, since a limit counts all
that one does. While little happens everybody is kept. Redis gets no address, key or session in clear.
"""

import json
import time
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from intellicolab.redis import keys
from intellicolab.redis.client import Role, client
from intellicolab.redis.counters import counters

from . import identity
from .address import group
from .caller import Caller
from .matching import Occasion

MOST = 50  # records a second and process: an hour of them takes some 5 MB
FEW = 10  # so few a second let the sample grow
CALM = 60  # such seconds in a row
LARGEST_MASK = 0xFFFF


class Noted(NamedTuple):
    """As it waits in this process, in clear."""

    time: float
    occasion: Occasion
    cost: int
    caller: Caller

    @property
    def who(self) -> bytes:
        return _who(self.caller)


KINDS = (identity.ADDRESS, identity.USER, identity.SESSION, identity.API_KEY, identity.GIVEN)


@dataclass(frozen=True, slots=True)
class Record:
    """As it comes back: `identities` are hashed, by kind."""

    time: float
    occasion: Occasion
    cost: int
    kind: str
    groups: tuple[str, ...]
    identities: dict[str, str]

    @property
    def place(self) -> str:
        return self.occasion.place


@dataclass(frozen=True, slots=True)
class Hour:
    """The records, oldest first; one person or address in `of` is in them. `cut` seconds had more than were kept."""

    records: list[Record]
    of: int = 1
    cut: int = 0


class Traffic:
    """What waits to be written. Thread-safe; the counters' thread flushes."""

    def __init__(self) -> None:
        self.start_afresh()
        counters.join(self)

    def start_afresh(self) -> None:
        self._noted: deque[Noted] = deque()
        self._mask = 0
        self._calm = 0
        self._cut = False

    def note(self, occasion: Occasion, caller: Caller, cost: int) -> None:
        """Note what a caller does, and as much of who it is as the policies have asked for."""
        if len(self._noted) >= MOST:
            self._cut = True
            return
        if self._mask and _draw(_who(caller)) & self._mask:
            return
        self._noted.append(Noted(time.time(), occasion, cost, caller))

    @property
    def is_waiting(self) -> bool:
        return bool(self._noted)

    def flush(self) -> None:
        """Raises RedisError, OSError."""
        noted = [self._noted.popleft() for _ in range(len(self._noted))]
        cut, self._cut = self._cut, False
        self._adapt(len(noted), cut)
        kept = [_packed(one) for one in noted if not _draw(one.who) & self._mask]
        text = json.dumps([self._mask, cut, kept], separators=(",", ":"))
        oldest = int((time.time() - keys.TRAFFIC_TTL) * 1000)
        pipeline = client(Role.STATE).pipeline(transaction=False)
        pipeline.xadd(keys.traffic(), {"z": zlib.compress(text.encode(), 1)}, minid=oldest)
        pipeline.expire(keys.traffic(), keys.TRAFFIC_TTL)
        pipeline.execute()

    def _adapt(self, count: int, cut: bool) -> None:
        """Halve the sample when a second was too full, double it after a calm minute."""
        self._calm = self._calm + 1 if count <= FEW else 0
        if cut:
            self._mask = min(self._mask * 2 + 1, LARGEST_MASK)
        elif self._calm >= CALM:
            self._mask, self._calm = self._mask // 2, 0


traffic = Traffic()


def last_hour() -> Hour:
    """Raises RedisError, OSError."""
    start = int((time.time() - keys.TRAFFIC_TTL) * 1000)
    entries: Any = client(Role.STATE).xrange(keys.traffic(), min=start)
    batches = [json.loads(zlib.decompress(fields[b"z"])) for _, fields in entries]
    mask = max((mask for mask, _, _ in batches), default=0)
    records = sorted(_fitting(batches, mask), key=lambda record: record.time)
    return Hour(records, mask + 1, sum(cut for _, cut, _ in batches))


def _fitting(batches: list[Any], mask: int) -> Iterator[Record]:
    """Those that the smallest sample of the hour has, too."""
    for _, _, kept in batches:
        for moment, draw, occasion, cost, kind, groups, identities in kept:
            if not draw & mask:
                known = {name: hashed for name, hashed in zip(KINDS, identities, strict=True) if hashed}
                yield Record(moment, Occasion(*occasion), cost, kind, tuple(groups), known)


def _packed(noted: Noted) -> list[Any]:
    """What no policy has asked of the caller is not found out here, in another thread."""
    occasion, caller = noted.occasion, noted.caller
    user = "" if caller.known_user_id is None else str(caller.known_user_id)
    names = (group(caller.address), user, caller.session, caller.api_key, caller.given)
    hashed = [identity.named(kind, name).hashed if name else "" for kind, name in zip(KINDS, names, strict=True)]
    draw = _draw(noted.who) & LARGEST_MASK
    return [
        round(noted.time, 6),
        draw,
        occasion.without_secrets(),
        noted.cost,
        caller.known_kind,
        caller.known_groups,
        hashed,
    ]


def _who(caller: Caller) -> bytes:
    user_id = caller.known_user_id
    return (caller.address if user_id is None else str(user_id)).encode(errors="surrogatepass")


def _draw(who: bytes) -> int:
    """A lot that falls the same way for somebody each time, in every process."""
    return zlib.crc32(who)
