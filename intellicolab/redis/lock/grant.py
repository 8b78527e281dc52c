"""A lock while it is held: what its holder asks, renews and gives back."""

import asyncio
import logging
import secrets
import threading
import time
from pathlib import Path

from redis.exceptions import RedisError

from .. import keys, scripts
from ..client import Role, async_client, client
from .errors import LockLost, LockReentered
from .holders import MAX_INDEX

logger = logging.getLogger("intellicolab.redis")

HANDOVER_MS = 1000  # the one that is woken claims the lock within this time, or anybody may take it
FIRST_RENEWAL = 1.0  # seconds; until then a lock is not in the index, which spares short ones the round trip

_release = scripts.load(Path(__file__).parent, "release")
_renew = scripts.load(Path(__file__).parent, "renew")
_announce = scripts.load(Path(__file__).parent, "announce")

Owner = threading.Thread | asyncio.Task

_held: "dict[tuple[str, Owner], Grant]" = {}  # by name and owner; each owner touches only entries of its own


def current_owner() -> Owner:
    """The asyncio task that runs, or else the thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return task or threading.current_thread()


def refuse_reentry(name: str) -> None:
    """Raises LockReentered when the running thread or task holds this lock."""
    grant = _held.get((name, current_owner()))
    if grant is not None and not grant.lost:
        raise LockReentered(f"Lock {name!r} is held by this very thread or task: waiting for it would never end.")


def held_here(name: str) -> "Grant | None":
    """The grant that the running thread or task has of this lock; None when it has given it back."""
    return _held.get((name, current_owner()))


class Grant:
    """A lock held by one thread or task. `fence` is the number that what the lock protects must check."""

    def __init__(self, name: str, lease: float) -> None:
        self.name = name
        self.lease = lease
        self.token = secrets.token_hex(16)
        self.fence = 0
        self.owner = current_owner()
        self.ended = False
        self.abandoned = False
        self._lost = False
        self._good_until = 0.0
        self.next_renewal = 0.0
        self.timer: asyncio.TimerHandle | None = None

    @property
    def lost(self) -> bool:
        """Whether the lease went. Asks our own clock, too: who was paused for longer than the lease knows at once."""
        return self._lost or time.monotonic() >= self._good_until

    def check(self) -> None:
        """Raises LockLost when the lease went. Costs no round trip."""
        if self.lost:
            raise LockLost(
                f"Lock {self.name!r} was lost: it could not be renewed within its lease of {self.lease:g} s. "
                "Another may hold it now."
            )

    def release(self) -> None:
        """Give it back and wake the next. Raises LockLost when it was no longer ours; an outage is only logged."""
        if not self._end():
            return
        try:
            ours = _release(client(Role.STATE), self._keys(), [self.token, HANDOVER_MS])
        except (RedisError, OSError) as error:
            self._release_failed(error)
        else:
            self._released(ours)

    async def arelease(self) -> None:
        """The async form of `release`."""
        if not self._end():
            return
        try:
            ours = await _release.call_async(async_client(Role.STATE), self._keys(), [self.token, HANDOVER_MS])
        except (RedisError, OSError) as error:
            self._release_failed(error)
        else:
            self._released(ours)

    def abandon(self) -> None:
        """Nobody waits for it any more, but a command without an answer may still bring it, or have queued it: who
        renews withdraws it instead, until Redis answers, or until it would have ended by itself."""
        self.abandoned = True
        self.next_renewal = time.monotonic()
        self._good_until = self.next_renewal + self.lease

    def withdraw(self) -> None:
        """Leave the queue, and the lock if it came meanwhile; harmless when repeated. Raises RedisError."""
        _release(client(Role.STATE), self._keys(), [self.token, HANDOVER_MS])
        self._end()

    async def awithdraw(self) -> None:
        """The async form of `withdraw`."""
        await _release.call_async(async_client(Role.STATE), self._keys(), [self.token, HANDOVER_MS])
        self._end()

    def renew(self) -> None:
        """Begin the lease anew; called by the renewer. Raises RedisError, and the lease then runs on."""
        sent, state = time.monotonic(), client(Role.STATE)
        if self._renewed(sent, _renew(state, [keys.lock(self.name)], [self.token, self._lease_ms])):
            _announce(state, [keys.lock_index()], [self.name, self._lease_ms, MAX_INDEX])

    async def arenew(self) -> None:
        """The async form of `renew`."""
        sent, state = time.monotonic(), async_client(Role.STATE)
        ours = await _renew.call_async(state, [keys.lock(self.name)], [self.token, self._lease_ms])
        if self._renewed(sent, ours):
            await _announce.call_async(state, [keys.lock_index()], [self.name, self._lease_ms, MAX_INDEX])

    def begin(self, fence: int, sent: float) -> None:
        """The lock is ours since a moment after `sent` (monotonic seconds)."""
        self.fence = fence
        self._good_until = sent + self.lease
        self.next_renewal = sent + min(FIRST_RENEWAL, self.lease / 3)
        _held[self.name, self.owner] = self

    @property
    def over(self) -> bool:
        """Whether it need not be renewed any more: given back, lost, or left behind by an owner that has ended."""
        gone = self.owner.done() if isinstance(self.owner, asyncio.Task) else not self.owner.is_alive()
        if gone:
            self._leave_owner()
        return (gone and not self.abandoned) or self.ended or self.lost

    def postpone_renewal(self) -> None:
        """It failed: again soon, but not at once, because a server that is starting has enough to do."""
        self.next_renewal = time.monotonic() + min(FIRST_RENEWAL, self.lease / 10)

    @property
    def _lease_ms(self) -> int:
        return max(1, round(self.lease * 1000))

    def _keys(self) -> list[str]:
        return [keys.lock(self.name), keys.lock_wake(self.name), keys.lock_queue(self.name)]

    def _renewed(self, sent: float, ours: int) -> bool:
        """Whether it was; what was given back meanwhile is nobody's to announce."""
        if ours:
            self._good_until = sent + self.lease
            self.next_renewal = sent + self.lease / 3
        elif not self.ended:
            self._lost = True
            logger.error("Lock %r was lost while it was held: its lease ended or Redis forgot it", self.name)
        return bool(ours)

    def _end(self) -> bool:
        if self.ended:
            return False
        self.ended = True
        if self.timer is not None:
            self.timer.cancel()
        self._leave_owner()
        return True

    def _leave_owner(self) -> None:
        if _held.get((self.name, self.owner)) is self:
            del _held[self.name, self.owner]

    def _released(self, ours: int) -> None:
        if not ours:
            self._lost = True
        if self._lost:
            self.check()

    def _release_failed(self, error: Exception) -> None:
        logger.warning("Lock %r could not be given back (%s) and ends with its lease", self.name, error)
        self.check()
