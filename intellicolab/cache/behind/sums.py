"""Write-behind of sums: many additions to one key reach the database as one, each counted exactly once.

Amounts gather in an open batch, which has an id from birth. A flush seals it and applies it in a transaction that also
records the id: a batch that is met again, after a crash or by a flusher that was paused, is known and only removed.
"""

import logging
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Generic

from django.db import transaction
from redis.exceptions import BusyLoadingError, ConnectionError, RedisError, ResponseError, TimeoutError

from intellicolab import threads
from intellicolab.cache.models import FlushedBatch
from intellicolab.redis import codec, keys
from intellicolab.redis.client import Role, async_client, client
from intellicolab.redis.scripts import Argument

from .buffer import BATCH, LIMIT, MAX_DEAD, MAX_TRIES, NOT_THE_ENTRY, Buffer, Guard, K, load, reason_of, unguarded
from .stamps import StampClock
from .unanswered import Unanswered

logger = logging.getLogger("intellicolab.cache")

BATCHES_A_FLUSH = 10
FATE_KNOWN = keys.BEHIND_OPERATIONS_TTL - 30  # seconds: no call takes that long to reach the server
MAX_READS = 10  # a reader that meets a commit reads again; a flusher commits a few times a second

_add, _take, _done, _fail = load("sum_add"), load("sum_take"), load("sum_done"), load("sum_fail")
_split, _pending = load("sum_split"), load("sum_pending")


class _RollBack(Exception):
    """Ends a trial."""


class SumBuffer(Buffer[K], Generic[K]):
    """`write` gets (key, amount) pairs inside a transaction and adds them (`add_sums` does it for a model); `load`
    reads the totals of keys from the database."""

    kind: ClassVar[str] = "sum"

    def __init__(
        self,
        namespace: str,
        *,
        write: Callable[[Mapping[K, int]], object],
        load: Callable[[Sequence[K]], Mapping[K, int]],
        key: Callable[[str], K] = int,  # type: ignore[assignment]
        limit: int = LIMIT,
        batch: int = BATCH,
        flushed: Callable[[Sequence[K]], object] | None = None,
    ) -> None:
        super().__init__(namespace, key=key, limit=limit, batch=batch, flushed=flushed)
        self.clock = StampClock()
        self.unanswered = Unanswered(f"Write-behind {namespace}", FATE_KNOWN)
        self._write = write
        self._load = load

    def add(self, key: K, amount: int = 1) -> None:
        """Returns when the amount is in Redis, or, without Redis, in the database; or when it will be sent again,
        because Redis gave no answer. Raises DatabaseError when both are away."""
        self.add_many({key: amount})

    def add_many(self, amounts: Mapping[K, int]) -> None:
        """Several at once: all are added, or none."""
        adding = _Adding(self, amounts)
        if adding.goes_on:
            try:
                adding.answered(_add(client(Role.STATE), adding.keys, adding.arguments))
            except (RedisError, OSError) as error:
                adding.failed(error)
        if adding.is_direct:
            self.write_directly(amounts)

    async def aadd(self, key: K, amount: int = 1) -> None:
        """The async form of `add`; only without Redis it takes a thread."""
        await self.aadd_many({key: amount})

    async def aadd_many(self, amounts: Mapping[K, int]) -> None:
        """The async form of `add_many`."""
        adding = _Adding(self, amounts)
        if adding.goes_on:
            try:
                adding.answered(await _add.call_async(async_client(Role.STATE), adding.keys, adding.arguments))
            except (RedisError, OSError) as error:
                adding.failed(error)
        if adding.is_direct:
            await threads.run(self.write_directly, amounts)

    def get_many(self, wanted: Iterable[K]) -> dict[K, int]:
        """The exact totals: what the database has and what waits. Without Redis, what the database has."""
        unique = list(dict.fromkeys(wanted))
        for _ in range(MAX_READS):
            pending = self._pending(unique)
            applied = self._applied(pending)
            totals = dict(self._load(unique))
            if applied == self._applied(pending):  # else a flush committed while we read
                break
        for batch, amounts in pending.items():
            if batch not in applied:
                for key, amount in zip(unique, amounts, strict=True):
                    totals[key] = totals.get(key, 0) + amount
        return {key: totals.get(key, 0) for key in unique}

    async def aget_many(self, wanted: Iterable[K]) -> dict[K, int]:
        """The async form of `get_many`, in a thread, because most of it is the database's."""
        return await threads.run(self.get_many, list(wanted))

    def flush(self, guard: Guard, force: bool = False) -> bool:
        """See `Buffer.flush`."""
        self.unanswered.settle()
        state = client(Role.STATE)
        _add(state, self.adding_keys(), ["", "", self.batch, self.limit, 1, keys.BEHIND_OPERATIONS_TTL])
        taker = secrets.token_hex(8)
        parts = [self.part(name) for name in ("sealed", "batches", "state")]
        found = _take(state, parts, [BATCHES_A_FLUSH, int(force), taker])
        for batch, contents in zip(found[::2], found[1::2], strict=True):
            self._settle(batch.decode(), contents, guard, taker)
        return len(found) == 2 * BATCHES_A_FLUSH

    def entries(self) -> tuple[int, float | None]:
        """See `Buffer.entries`."""
        state = client(Role.STATE)
        first: Any = state.zrange(self.part("sealed"), 0, 0) or [state.get(self.part("open-id"))]
        born = int(first[0].split(b"-")[0]) if first[0] else None
        age = max(0.0, (self._now() - born) / 1e6) if born else None
        return state.hlen(self.part("open")) + state.hlen(self.part("amounts")), age

    def adding_keys(self) -> list[str]:
        return [self.part(name) for name in ("open", "open-id", "sealed", "batches", "amounts", "operations")]

    def new_id(self) -> str:
        """It begins with the time, which says how long a batch waits."""
        return f"{self.clock.now()}-{secrets.token_hex(8)}"

    def _settle(self, batch: str, contents: bytes, guard: Guard, taker: str) -> None:
        raw: Any = codec.decode(contents)
        try:
            self._apply(batch, {self._key(key): int(amount) for key, amount in raw.items()}, guard)
        except NOT_THE_ENTRY:
            raise
        except Exception as error:  # whatever the declaration's own code makes of one key: the others must go on
            self._refused(batch, raw, guard, taker, error)
            return
        self._remove(batch)

    def _remove(self, batch: str) -> None:
        parts = [self.part(name) for name in ("sealed", "batches", "amounts", "tries", "state")]
        _done(client(Role.STATE), parts, [batch])

    def _apply(self, batch: str, amounts: Mapping[K, int], guard: Guard) -> None:
        with transaction.atomic():
            guard()
            transaction.on_commit(partial(self._committed, list(amounts)))
            if not FlushedBatch.objects.filter(pk=batch).exists():
                FlushedBatch.objects.create(pk=batch)
                self._write(amounts)

    def _refused(self, batch: str, raw: Mapping[str, str], guard: Guard, taker: str, error: Exception) -> None:
        if len(raw) == 1:
            [key] = raw
            self._fail(batch, key, taker, error)
            return
        # Where none fails by itself, they fail only together: then each goes alone.
        refused = self._find_refused(dict(raw)) or list(raw)
        with transaction.atomic():
            guard()  # committed before the batch changes: a flusher that was paused with the old one is refused
            if FlushedBatch.objects.filter(pk=batch).exists():
                return
        pairs: list[Argument] = [batch, taker]
        for key in refused:
            pairs += [key, self.new_id()]
        _split(client(Role.STATE), [self.part(name) for name in ("sealed", "batches", "amounts", "state")], pairs)

    def _find_refused(self, raw: Mapping[str, str]) -> list[str]:
        """The keys that fail by themselves, by trials that are rolled back."""
        try:
            with transaction.atomic():
                self._write({self._key(key): int(amount) for key, amount in raw.items()})
                raise _RollBack
        except _RollBack:
            return []
        except NOT_THE_ENTRY:
            raise
        except Exception:  # see `_settle`
            if len(raw) == 1:
                return list(raw)
        items = list(raw.items())
        middle = len(items) // 2
        return self._find_refused(dict(items[:middle])) + self._find_refused(dict(items[middle:]))

    def _fail(self, batch: str, key: str, taker: str, error: Exception) -> None:
        parts = [self.part(name) for name in ("sealed", "batches", "amounts", "tries", "dead", "state")]
        tries = _fail(client(Role.STATE), parts, [batch, key, reason_of(error), MAX_TRIES, MAX_DEAD, taker])
        fate = "given up: it lies among the dead" if tries < 0 else f"try {tries}"
        logger.error("Write-behind %s: the database refuses %s (%s): %s", self.namespace, key, fate, error)

    def write_directly(self, amounts: Mapping[K, int], batch: str = "") -> None:
        """Add to the database now, past the buffer; once for each id. Raises DatabaseError."""
        self._apply(batch or self.new_id(), amounts, unguarded)

    def _pending(self, wanted: Sequence[K]) -> dict[str, list[int]]:
        """The amounts that wait, by batch."""
        if not wanted or not self.breaker.ready():
            return {}
        parts = [self.part(name) for name in ("open", "open-id", "sealed", "amounts")]
        try:
            found = _pending(client(Role.STATE), parts, [str(key) for key in wanted])
        except (RedisError, OSError) as error:
            self.breaker.failed(error)
            return {}
        self.breaker.succeeded()
        return {batch.decode(): [int(amount) for amount in amounts] for batch, *amounts in found}

    @staticmethod
    def _applied(pending: Mapping[str, object]) -> set[str]:
        return set(FlushedBatch.objects.filter(pk__in=list(pending)).values_list("pk", flat=True)) if pending else set()

    def _now(self) -> int:
        return self.clock.now()


class _Adding(Generic[K]):
    """One `add`: what to send, and what the answers mean."""

    def __init__(self, buffer: SumBuffer[K], amounts: Mapping[K, int]) -> None:
        self._buffer = buffer
        self._operation = secrets.token_hex(12)
        self.keys = buffer.adding_keys()
        pairs: list[Argument] = []
        for key, amount in amounts.items():
            pairs += [str(key), int(amount)]
        about: list[Argument] = [buffer.new_id(), buffer.batch, buffer.limit, 0, keys.BEHIND_OPERATIONS_TTL]
        self.arguments: list[Argument] = [self._operation, *about, *pairs]
        self._direct = buffer.new_id()  # one for all tries: a commit whose answer was lost is not made again
        self._amounts = dict(amounts)
        self.goes_on = buffer.breaker.ready()
        self.is_direct = not self.goes_on

    def answered(self, answer: list) -> None:
        status, entries = answer
        self._buffer.breaker.succeeded()
        self.is_direct = status == b"full"
        self._buffer.note_size(entries, full=self.is_direct)

    def failed(self, error: Exception) -> None:
        self._buffer.breaker.failed(error)
        self.is_direct = was_refused(error)
        if not self.is_direct:  # it may have been added: only Redis can say so
            self._buffer.unanswered.add(self._operation, self._send_again)

    def _send_again(self) -> None:
        try:
            status, _ = _add(client(Role.STATE), self.keys, self.arguments)
        except ResponseError:  # it was not done before, and was not done now
            status = b"full"
        if status == b"full":
            self._buffer.write_directly(self._amounts, self._direct)


def was_refused(error: Exception) -> bool:
    """Whether the command surely did not run: the server said so, or there was no connection to send it over."""
    if isinstance(error, ResponseError | BusyLoadingError):
        return True
    return isinstance(error, ConnectionError | TimeoutError) and " connecting to " in str(error)
