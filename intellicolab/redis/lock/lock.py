"""A lock for what only one in the whole installation may do at a time."""

import math
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from redis.exceptions import RedisError

from .. import codec, keys, scripts
from ..client import Purpose, Role, async_client, client
from .errors import LockLost, LockTimeout, LockUnavailable
from .grant import Grant, held_here, refuse_reentry
from .holders import Holder, parse
from .renewal import renew_in_loop, renewer

LONGEST_LEASE = 3600.0  # seconds
# Seconds of one blocking read, below the read timeout of Purpose.WAITING. It also bounds how late a waiter notices that
# another was woken and died of it.
LONGEST_NAP = 10.0

_take = scripts.load(Path(__file__).parent, "take")


class Lock:
    """A distributed lock: `with Lock("reports") as grant:`, or `async with`.

    `lease` is how long (seconds) it stays taken when its holder dies; while the holder lives it is renewed. `wait` is
    how long (seconds) an acquire waits for it. `purpose` tells the dashboard what the holder does. Names come from a
    fixed set, because each keeps its fencing counter for ever. A Lock may be shared by threads and tasks.

    Acquiring raises LockTimeout, LockReentered or LockUnavailable; releasing raises LockLost. What the lock protects
    must check `grant.fence` (`intellicolab.redis.fence`): no lock with a lease can promise that a paused holder stops.
    """

    def __init__(self, name: str, lease: float = 30.0, wait: float = 10.0, purpose: str = "") -> None:
        if not 0.01 <= lease <= LONGEST_LEASE:
            raise ValueError(f"The lease of lock {name!r} is {lease!r} s; it must be 0.01 to {LONGEST_LEASE:g}.")
        if not 0 <= wait < math.inf:
            raise ValueError(f"Lock {name!r} would wait {wait!r} s; give it a bound.")
        self.name = name
        self.lease = lease
        self.wait = wait
        self.purpose = purpose

    def acquire(self, wait: float | None = None) -> Grant:
        """Take the lock within `wait` seconds (0 tries once); give it back with `grant.release()`."""
        attempt = _Attempt(self, wait)
        try:
            while attempt.goes_on(_take(client(Role.STATE), attempt.keys, attempt.arguments())):
                woken = client(Role.STATE, Purpose.WAITING).blpop([attempt.wake], timeout=attempt.nap)
                attempt.was_woken(woken)
        except (RedisError, OSError) as error:
            attempt.grant.abandon()
            renewer.add(attempt.grant)
            raise attempt.unavailable(error) from error
        except LockTimeout:
            raise  # it has left the queue already
        except BaseException:  # whatever else ends the wait, perhaps with the process: nobody must be kept waiting
            with suppress(RedisError, OSError):
                attempt.grant.withdraw()
            raise
        renewer.add(attempt.grant)
        return attempt.grant

    async def aacquire(self, wait: float | None = None) -> Grant:
        """The async form of `acquire`; give it back with `await grant.arelease()`."""
        attempt = _Attempt(self, wait)
        try:
            while attempt.goes_on(await _take.call_async(async_client(Role.STATE), attempt.keys, attempt.arguments())):
                woken = await async_client(Role.STATE, Purpose.WAITING).blpop([attempt.wake], timeout=attempt.nap)
                attempt.was_woken(woken)
        except (RedisError, OSError) as error:
            attempt.grant.abandon()
            renew_in_loop(attempt.grant)
            raise attempt.unavailable(error) from error
        except LockTimeout:
            raise
        except BaseException:  # a cancelled task may not wait any more
            attempt.grant.abandon()
            renew_in_loop(attempt.grant)
            raise
        renew_in_loop(attempt.grant)
        return attempt.grant

    def __enter__(self) -> Grant:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        grant = held_here(self.name)
        if grant is None:  # given back before the block's end
            return
        try:
            grant.release()
        except LockLost:
            if error is None:  # what ended the work says more than that
                raise

    async def __aenter__(self) -> Grant:
        return await self.aacquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        grant = held_here(self.name)
        if grant is None:
            return
        try:
            await grant.arelease()
        except LockLost:
            if error is None:
                raise


class _Attempt:
    """One acquire: its patience, and what the answers of the script mean."""

    def __init__(self, lock: Lock, wait: float | None) -> None:
        refuse_reentry(lock.name)
        self.name = lock.name
        self.wait = lock.wait if wait is None else wait
        self.grant = Grant(lock.name, lock.lease)
        self.wake = keys.lock_wake(lock.name)
        self.keys = [keys.lock(lock.name), keys.lock_fence(lock.name), self.wake, keys.lock_queue(lock.name)]
        self.woken = b""
        self.nap = 0.0
        self._holder = codec.encode(
            Holder(socket.gethostname(), os.getpid(), lock.purpose or threading.current_thread().name)
        )
        self._sent = time.monotonic()
        self._deadline = self._sent + self.wait

    def arguments(self) -> list[scripts.Argument]:
        self._sent = time.monotonic()
        patience = max(0.0, min(self._deadline - self._sent, LONGEST_NAP))
        lease_ms, patience_ms = round(self.grant.lease * 1000), math.ceil(patience * 1000)
        return [self.grant.token, lease_ms, self._holder, self.woken, patience_ms, int(self.nap > 0)]

    def goes_on(self, answer: list) -> bool:
        """Whether to wait, for `nap` seconds; False when the lock is ours. Raises LockTimeout."""
        if len(answer) == 1:
            self.grant.begin(int(answer[0]), self._sent)
            return False
        _, left_ms, value, now = answer
        patience = self._deadline - time.monotonic()
        if self._deadline <= self._sent:
            raise LockTimeout(f"Waited {self.wait:g} s in vain: {parse(self.name, value, left_ms, int(now))}.")
        # A millisecond more than the lease, because both clocks cut; 0 would mean for ever.
        self.nap = max(0.001, min(patience, left_ms / 1000 + 0.001, LONGEST_NAP))
        return True

    def was_woken(self, item: Any) -> None:
        """`item` is BLPOP's (list, value), or None when the nap passed without it."""
        self.woken = item[1] if item else b""

    def unavailable(self, error: Exception) -> LockUnavailable:
        return LockUnavailable(f"Lock {self.name!r} cannot be had, because Redis gave no answer: {error}")
