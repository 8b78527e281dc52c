"""What is on its way to the database, and who holds a lock: one row a write-behind buffer, one a lock."""

from dataclasses import dataclass

from intellicolab.cache import behind
from intellicolab.redis.lock import HeldLock, holders

from .figures import duration

# Where waiting becomes a problem: the flusher writes each second.
OLDEST_HIGH = 60.0  # seconds
FULL = 90.0  # per cent of a buffer's limit


@dataclass(frozen=True, slots=True)
class BufferRow:
    state: behind.BufferState

    @property
    def oldest(self) -> str:
        return "nothing waits" if self.state.oldest is None else duration(int(self.state.oldest))

    @property
    def last_flush(self) -> str:
        return "never" if self.state.last_flush is None else f"{duration(int(self.state.last_flush))} ago"

    def problems(self) -> list[str]:
        """What needs attention, in words, with the place to look."""
        found, state = [], self.state
        if state.oldest is not None and state.oldest >= OLDEST_HIGH:
            waits = duration(int(state.oldest))
            found.append(f"Write-behind {state.namespace}: a write waits since {waits}. Does `manage.py worker` run?")
        if state.entries >= state.limit * FULL / 100:
            share = f"{state.entries:,} of {state.limit:,}"
            found.append(f"Write-behind {state.namespace}: {share} places are taken; beyond them writes are slow.")
        if state.dead:
            found.append(
                f"Write-behind {state.namespace}: the database refused {state.dead:,} for good. `manage.py drain` says "
                "why; with --drop-refused it drops them."
            )
        return found


@dataclass(frozen=True, slots=True)
class LockRow:
    lock: HeldLock

    @property
    def age(self) -> str:
        return duration(int(self.lock.age))


def buffer_rows() -> list[BufferRow]:
    """Raises RedisError."""
    return [BufferRow(state) for state in behind.states()]


def lock_rows() -> list[LockRow]:
    """Raises RedisError."""
    return [LockRow(lock) for lock in holders()]
