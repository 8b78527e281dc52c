"""Write-behind of the latest value: of many writes of one key only the last one reaches the database.

Each write carries a stamp, and a row is only updated by a higher one than it holds. So a flush that comes late, or
twice, or from a flusher that was paused and has been replaced, changes nothing.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Generic, Literal, TypeVar

import msgspec
from django.db import transaction
from redis.exceptions import RedisError

from intellicolab import threads
from intellicolab.redis import codec
from intellicolab.redis.client import Role, async_client, client
from intellicolab.redis.direct import aask
from intellicolab.redis.scripts import Argument

from .buffer import BATCH, LIMIT, MAX_DEAD, MAX_TRIES, NOT_THE_ENTRY, Buffer, Guard, K, load, reason_of
from .stamps import StampClock

logger = logging.getLogger("intellicolab.cache")

V = TypeVar("V")

MAX_REMEMBERED = 10_000  # keys that this process wrote itself: what lies in the buffer may be older

_set, _take, _done, _fail = load("latest_set"), load("latest_take"), load("latest_done"), load("latest_fail")


class Entry(msgspec.Struct, Generic[K, V], frozen=True):
    """One value to write, on the condition that its stamp is higher than the row's."""

    key: K
    value: V
    stamp: int


class LatestBuffer(Buffer[K], Generic[K, V]):
    """`write` gets a list of entries inside a transaction; `update_latest` does what it must for a model.

    `type` is what a value is decoded to. With `merge="max"` the greater number stays, whatever the stamps say; `write`
    then raises rows and never lowers them (`update_greatest`). A write is not part of the caller's
    transaction: it stays when that is rolled back, unless Redis was away and the database took it.
    """

    kind: ClassVar[str] = "latest"

    def __init__(
        self,
        namespace: str,
        *,
        write: Callable[[Sequence[Entry[K, V]]], object],
        type: type[V],
        key: Callable[[str], K] = int,  # type: ignore[assignment]
        merge: Literal["last", "max"] = "last",
        limit: int = LIMIT,
        batch: int = BATCH,
        flushed: Callable[[Sequence[K]], object] | None = None,
    ) -> None:
        super().__init__(namespace, key=key, limit=limit, batch=batch, flushed=flushed)
        self.merge = merge
        self.clock = StampClock()
        self._write = write
        self._type = type
        self._ours: OrderedDict[str, int] = OrderedDict()

    def set(self, key: K, value: V) -> None:
        """Returns when the value is in Redis, or, without Redis, in the database. Raises DatabaseError without both."""
        attempt = _Setting(self, key, value)
        while attempt.goes_on:
            try:
                attempt.answered(_set(client(Role.STATE), attempt.keys, attempt.arguments()))
            except (RedisError, OSError) as error:
                attempt.failed(error)
        if attempt.is_direct:
            self._write_directly(key, value)

    async def aset(self, key: K, value: V) -> None:
        """The async form of `set`; only without Redis it takes a thread."""
        attempt = _Setting(self, key, value)
        while attempt.goes_on:
            try:
                attempt.answered(await _set.call_async(async_client(Role.STATE), attempt.keys, attempt.arguments()))
            except (RedisError, OSError) as error:
                attempt.failed(error)
        if attempt.is_direct:
            await threads.run(self._write_directly, key, value)

    def get_many(self, wanted: Iterable[K]) -> dict[K, V]:
        """The values that wait, by key. Ask here first and the database afterwards; the other way round, a flush in
        between would hide a write. Empty without Redis."""
        unique = list(dict.fromkeys(wanted))
        if not unique or not self.breaker.ready():
            return {}
        try:
            found: Any = client(Role.STATE).hmget(self.part("values"), [str(key) for key in unique])
        except (RedisError, OSError) as error:
            self.breaker.failed(error)
            return {}
        self.breaker.succeeded()
        return self._waiting(unique, found)

    async def aget_many(self, wanted: Iterable[K]) -> dict[K, V]:
        """The async form of `get_many`."""
        unique = list(dict.fromkeys(wanted))
        if not unique or not self.breaker.ready():
            return {}
        try:
            found = await aask(async_client(Role.STATE), "HMGET", self.part("values"), *map(str, unique))
        except (RedisError, OSError) as error:
            self.breaker.failed(error)
            return {}
        self.breaker.succeeded()
        return self._waiting(unique, found)

    def flush(self, guard: Guard, force: bool = False) -> bool:
        """See `Buffer.flush`."""
        taken = self._take(force)
        if taken:
            self._settle(taken, guard)
        return len(taken) == self.batch

    def entries(self) -> tuple[int, float | None]:
        """See `Buffer.entries`."""
        state = client(Role.STATE)
        oldest: Any = state.zrange(self.part("due"), 0, 0, withscores=True)
        age = max(0.0, (self._now() - oldest[0][1]) / 1e6) if oldest else None
        return state.zcard(self.part("due")), age

    def _take(self, force: bool) -> list[Entry[K, V]]:
        found = _take(client(Role.STATE), [self.part("values"), self.part("due")], [self.batch, int(force)])
        entries = (self._entry(key, value) for key, value in zip(found[::2], found[1::2], strict=True))
        return [entry for entry in entries if entry is not None]

    def _entry(self, key: bytes, payload: bytes) -> Entry[K, V] | None:
        stamp, _, value = payload.partition(b":")
        try:
            return Entry(self._key(key.decode()), self._decode(value), int(stamp))
        except (codec.CodecError, ValueError) as error:  # written by another version of the application
            self._refused(key.decode(), int(stamp), error)
            return None

    def _settle(self, entries: Sequence[Entry[K, V]], guard: Guard) -> None:
        """Write them together, or else find out which of them the database refuses."""
        try:
            self._apply(entries, guard)
        except NOT_THE_ENTRY:
            raise
        except Exception as error:  # whatever the declaration's own code makes of one entry: the others must go on
            if len(entries) == 1:
                self._refused(str(entries[0].key), entries[0].stamp, error)
                return
            middle = len(entries) // 2
            self._settle(entries[:middle], guard)
            self._settle(entries[middle:], guard)
            return
        self._remove(entries)

    def _apply(self, entries: Sequence[Entry[K, V]], guard: Guard) -> None:
        with transaction.atomic():
            guard()
            self._write(entries)
            # After the commit and before the removal: then nobody reads an older value.
            transaction.on_commit(partial(self._committed, [entry.key for entry in entries]))

    def _remove(self, entries: Sequence[Entry[K, V]]) -> None:
        pairs: list[Argument] = []
        for entry in entries:
            pairs += [str(entry.key), entry.stamp]
        parts = [self.part(name) for name in ("values", "due", "tries", "state")]
        _done(client(Role.STATE), parts, pairs)

    def _refused(self, key: str, stamp: int, error: Exception) -> None:
        parts = [self.part(name) for name in ("values", "due", "tries", "dead", "state")]
        tries = _fail(client(Role.STATE), parts, [key, stamp, reason_of(error), MAX_TRIES, MAX_DEAD])
        fate = "given up: it lies among the dead" if tries < 0 else f"try {tries}"
        logger.error("Write-behind %s: the database refuses %s (%s): %s", self.namespace, key, fate, error)

    def _write_directly(self, key: K, value: V) -> None:
        stamp = self.clock.stamp()
        remember = partial(self._remember, str(key), stamp)
        # Only a commit makes what waits older: a write that fails, or is rolled back with its caller, hides nothing.
        self._apply([Entry(key, value, stamp)], partial(transaction.on_commit, remember))

    def _remember(self, key: str, stamp: int) -> None:
        if self.merge == "last":
            self._ours[key] = stamp
        if len(self._ours) > MAX_REMEMBERED:
            self._ours.popitem(last=False)

    def _waiting(self, wanted: Sequence[K], found: Sequence[bytes | None]) -> dict[K, V]:
        waiting: dict[K, V] = {}
        for key, payload in zip(wanted, found, strict=True):
            stamp, _, value = (payload or b"0:").partition(b":")
            if payload and int(stamp) > self._ours.get(str(key), 0):
                with suppress(codec.CodecError):  # another version's: the flusher will say so
                    waiting[key] = self._decode(value)
        return waiting

    def _decode(self, value: bytes) -> V:
        return codec.decode(value, self._type)  # type: ignore[return-value]

    def _now(self) -> int:
        return self.clock.now()


class _Setting(Generic[K, V]):
    """One `set`: what to send, and what the answers mean."""

    def __init__(self, buffer: LatestBuffer[K, V], key: K, value: V) -> None:
        self._buffer = buffer
        self._tries = 0
        self.keys = [buffer.part(name) for name in ("values", "due", "clock")]
        self._what: list[Argument] = [str(key), codec.encode(value), buffer.merge, buffer.limit]
        self.is_direct = not buffer.breaker.ready()
        self.goes_on = not self.is_direct

    def arguments(self) -> list[Argument]:
        self._tries += 1
        return [*self._what, self._buffer.clock.now(), self._buffer.clock.floor]

    def answered(self, answer: list) -> None:
        status, now, entries = answer
        self._buffer.clock.learn(int(now))
        self._buffer.breaker.succeeded()
        if status == b"late" and self._tries == 1:
            return  # nothing was written, and now we know the server's time: once more
        self.goes_on, self.is_direct = False, status != b"ok"
        if status != b"late":
            self._buffer.note_size(entries, full=status == b"full")

    def failed(self, error: Exception) -> None:
        self._buffer.breaker.failed(error)
        self.goes_on, self.is_direct = False, True
