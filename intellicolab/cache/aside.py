"""Cache-aside: read the cache, on a miss load and store; an update invalidates after its commit.

The classic race is a reader that loads an old row, is overtaken by an update and its invalidation, and then stores the
old value for the whole time to live. A lease closes it (Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013,
section 3.2.1): a miss leaves a token under the key, an invalidation deletes it with the key, and a value is stored only
while its token is still there.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import redis
from django.core.cache import caches
from django.db import transaction
from redis.exceptions import RedisError

from intellicolab.redis import codec, keys, scripts
from intellicolab.redis.counters import counters

K = TypeVar("K", int, str)
V = TypeVar("V")

PAUSE = 1.0  # seconds without the cache after a timeout: a stalled server must not slow down every request
MAX_OWED = 10_000  # invalidations remembered through an outage; beyond them the time to live has to do

# The first byte under a key says what the rest is.
_VALUE, _LEASE = b"V", b"L"

_put_if_leased = scripts.load(Path(__file__).parent, "put_if_leased")


class CacheAside(Generic[K, V]):
    """One kind of cached thing.

    `loader` answers for the keys it is given; a key it leaves out has no value, and that too is cached, as None.
    `ttl` is in seconds. `type` is what the codec decodes to. Nothing here raises for Redis: without it, the loader
    answers. Inside a transaction the cache is passed by, because a transaction sees its own uncommitted rows, which
    others must not get, and may see older rows than the cache holds.
    """

    def __init__(
        self,
        namespace: str,
        ttl: int,
        loader: Callable[[Sequence[K]], Mapping[K, V]],
        type: type[V],
    ) -> None:
        self.namespace = namespace
        self.ttl = ttl
        self._loader: Callable[[Sequence[K]], Mapping[K, V]] = loader
        self._type = type | None
        self._lock = threading.Lock()
        self._owed: set[str] = set()
        self._away_until = 0.0

    def get(self, key: K) -> V | None:
        return self.get_many([key])[key]

    def get_many(self, wanted: Iterable[K]) -> dict[K, V | None]:
        """The values by key, one round trip for all hits and one call of the loader for all misses."""
        unique = list(dict.fromkeys(wanted))
        if not unique:
            return {}
        if transaction.get_connection().in_atomic_block:
            return self._load(unique)
        found, leases = self._read(unique)
        missing = [key for key in unique if key not in found]
        self._count(hit=len(found), miss=len(missing))
        if missing:
            loaded = self._load(missing)
            self._store(loaded, leases)
            found.update(loaded)
        return found

    def invalidate(self, *invalid: K) -> None:
        """Forget these keys. Call it after the commit; what an outage prevents is made up for when Redis is back."""
        names = {self._name(key) for key in invalid}
        try:
            self._client().delete(*names)
        except (RedisError, OSError) as error:
            self._failed(error)
            with self._lock:
                if len(self._owed) < MAX_OWED:
                    self._owed |= names

    def _read(self, wanted: list[K]) -> tuple[dict[K, V | None], dict[K, bytes]]:
        """What the cache holds, and the leases left for what it does not."""
        if time.monotonic() < self._away_until:
            return {}, {}
        owed = self._take_owed()
        leases = {key: _LEASE + secrets.token_bytes(12) for key in wanted}
        try:
            pipeline = self._client().pipeline(transaction=False)
            if owed:
                pipeline.delete(*owed)
            for key, lease in leases.items():
                # Reads what is there or leaves the lease, in one step (SET … NX GET, since Redis 7.0).
                pipeline.set(self._name(key), lease, nx=True, get=True, ex=keys.CACHE_LEASE_TTL)
            answers = pipeline.execute()[1 if owed else 0 :]
        except (RedisError, OSError) as error:
            self._failed(error)
            with self._lock:
                self._owed |= owed
            return {}, {}
        return self._sort(dict(zip(wanted, answers, strict=True)), leases)

    def _sort(self, answers: dict[K, bytes | None], leases: dict[K, bytes]) -> tuple[dict[K, V | None], dict[K, bytes]]:
        found: dict[K, V | None] = {}
        ours: dict[K, bytes] = {}
        for key, answer in answers.items():
            if answer is None:
                ours[key] = leases[key]
            elif answer.startswith(_VALUE):
                self._decode(key, answer, found)
        return found, ours  # what another reader holds the lease of is in neither: loaded, and not stored

    def _decode(self, key: K, answer: bytes, found: dict[K, V | None]) -> None:
        try:
            found[key] = codec.decode(answer[1:], self._type)  # type: ignore[assignment]
        except codec.CodecError:  # written by another version of the application
            self._count(error=1)
            self.invalidate(key)

    def _store(self, loaded: dict[K, V | None], leases: dict[K, bytes]) -> None:
        try:
            client = self._client()
            for key, lease in leases.items():
                value = _VALUE + codec.encode(loaded[key])
                _put_if_leased(client, [self._name(key)], [lease, value, self.ttl])
        except (RedisError, OSError) as error:
            self._failed(error)

    def _load(self, wanted: list[K]) -> dict[K, V | None]:
        values = self._loader(wanted)
        return {key: values.get(key) for key in wanted}

    def _take_owed(self) -> set[str]:
        with self._lock:
            owed, self._owed = self._owed, set()
        return owed

    def _failed(self, error: Exception) -> None:
        if isinstance(error, redis.TimeoutError):  # a refused connection costs no time, so it needs no pause
            self._away_until = time.monotonic() + PAUSE
        self._count(error=1)

    def _name(self, key: K) -> str:
        return keys.cached(self.namespace, key)

    def _count(self, **amounts: int) -> None:
        for outcome, amount in amounts.items():
            if amount:
                counters.add("cache", f"{self.namespace}:{outcome}", amount)

    @staticmethod
    def _client() -> redis.Redis:
        return caches["default"].client.get_client()  # type: ignore[attr-defined]
