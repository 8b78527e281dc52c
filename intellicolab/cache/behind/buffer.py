"""What both kinds of write-behind buffer have in common: their keys, their bound, and how they are doing."""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
from django.db import InterfaceError, OperationalError
from redis.exceptions import RedisError

from intellicolab.redis import codec, keys, scripts
from intellicolab.redis.breaker import Breaker
from intellicolab.redis.client import Role, client
from intellicolab.redis.fence import StaleFence
from intellicolab.redis.lock import LockError

logger = logging.getLogger("intellicolab.cache")

K = TypeVar("K", bound=int | str)

LIMIT = 100_000  # waiting entries: some 20 MB, and minutes of work for the flusher
BATCH = 500  # entries a transaction: others wait while it runs
MAX_TRIES = 5  # pauses of 1, 2, 4 and 8 s lie between them
MAX_DEAD = 1000  # kept with their reasons; beyond them the refused stay in the buffer and are tried each hour


class HookError(RuntimeError):
    """`flushed` of a declaration failed. The rows are written, and will be once more."""


# The database is away, or the lock is: nothing that one entry could be blamed for.
NOT_THE_ENTRY = (OperationalError, InterfaceError, StaleFence, LockError, RedisError, OSError, HookError)

Guard = Callable[[], None]

registry: "dict[str, Buffer]" = {}


def load(name: str) -> scripts.Script:
    return scripts.load(Path(__file__).parent, name)


def unguarded() -> None:
    """For writes that need no lock."""


class BufferState(msgspec.Struct, frozen=True):
    """How a buffer is doing, for the dashboard. `oldest` and `last_flush` are seconds ago."""

    namespace: str
    kind: str
    entries: int
    limit: int
    oldest: float | None
    last_flush: float | None
    flushed: int
    failures: int
    dead: int


class DeadEntry(msgspec.Struct, frozen=True):
    """What the database refused for good."""

    key: str
    value: str
    reason: str


class Buffer(ABC, Generic[K]):
    """Declared at import, once a namespace; the worker flushes all that are declared.

    `key` makes a key of its text. `limit` is how many entries may wait: beyond it a writer writes to the database
    itself. `flushed` is called with the keys after each commit; what was cached of them must go then.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        namespace: str,
        *,
        key: Callable[[str], K],
        limit: int = LIMIT,
        batch: int = BATCH,
        flushed: Callable[[Sequence[K]], object] | None = None,
    ) -> None:
        if namespace in registry:
            raise ValueError(f"there are two write-behind buffers named {namespace!r}")
        if limit < 1 or batch < 1:
            raise ValueError(f"Buffer {namespace!r} needs a limit and a batch of at least 1.")
        self.namespace = namespace
        self.limit = limit
        self.batch = batch
        self._key = key
        self._flushed = flushed
        self._full = False
        self._full_lock = threading.Lock()
        self.breaker = Breaker(f"Write-behind {namespace}", "writes go to the database directly")
        registry[namespace] = self

    @abstractmethod
    def flush(self, guard: Guard, force: bool = False) -> bool:
        """Write what is due, at most a batch; with `force` also what waits for its next try. Whether there is more.

        `guard` runs first in each transaction. Raises what it raises, and RedisError or DatabaseError when one is away.
        """

    @abstractmethod
    def entries(self) -> tuple[int, float | None]:
        """How many entries wait, and since how many seconds the oldest one does. Raises RedisError."""

    def state(self) -> BufferState:
        """Raises RedisError."""
        count, oldest = self.entries()
        now, fields = self._now(), self._fields()
        last = fields.get(b"last_flush")
        return BufferState(
            namespace=self.namespace,
            kind=self.kind,
            entries=count,
            limit=self.limit,
            oldest=oldest,
            last_flush=max(0.0, (now - int(last)) / 1e6) if last else None,
            flushed=int(fields.get(b"flushed", 0)),
            failures=int(fields.get(b"failures", 0)),
            dead=client(Role.STATE).hlen(self.part("dead")),
        )

    def dead(self) -> list[DeadEntry]:
        """What the database refused for good, with its reasons. Raises RedisError."""
        found: Any = client(Role.STATE).hgetall(self.part("dead"))
        return [self._dead_entry(key.decode(), value) for key, value in found.items()]

    def take_dead(self) -> list[DeadEntry]:
        """As `dead`, and drop them: nothing else would ever, and the dashboard goes on telling of them. RedisError."""
        found: Any = client(Role.STATE).hgetall(self.part("dead"))
        if found:  # no others: one that is buried meanwhile has not been told
            client(Role.STATE).hdel(self.part("dead"), *found)
        return [self._dead_entry(key.decode(), value) for key, value in found.items()]

    def part(self, name: str) -> str:
        return keys.behind(self.namespace, name)

    def note_size(self, entries: int, *, full: bool) -> None:
        """Log once when the limit is met, and once when there is room again."""
        if full is self._full or (self._full and entries > 0.9 * self.limit):
            return
        with self._full_lock:
            changed, self._full = self._full is not full, full
        if changed and full:
            logger.error(
                "Write-behind %s holds its limit of %d entries: writes go to the database directly, and slower. "
                "Does `manage.py worker` run?", self.namespace, self.limit,
            )  # fmt: skip
        elif changed:
            logger.error("Write-behind %s has room again: %d entries wait", self.namespace, entries)

    def _committed(self, written: Sequence[K]) -> None:
        if self._flushed is None:
            return
        try:
            self._flushed(written)
        except Exception as error:  # the declaration's own code: no entry may be blamed, and none removed
            raise HookError(f"The `flushed` of write-behind {self.namespace} failed: {error!r}") from error

    def _fields(self) -> dict[bytes, bytes]:
        found: Any = client(Role.STATE).hgetall(self.part("state"))
        return found

    @staticmethod
    def _dead_entry(key: str, value: bytes) -> DeadEntry:
        fields: Any = codec.decode(value)
        return DeadEntry(str(fields.get("key", key)), str(fields["value"]), str(fields["reason"]))

    @abstractmethod
    def _now(self) -> int: ...


def reason_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
