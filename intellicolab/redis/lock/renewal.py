"""Renewal of held locks, and withdrawal of abandoned ones: a thread for those of threads, the loop for those of tasks.

Both end with their process and pass over what has been given back, so no lock outlives its holder for longer than a
lease.
"""

import asyncio
import threading
import time
from contextlib import suppress

from redis.exceptions import RedisError

from .grant import Grant

_renewing: set[asyncio.Task] = set()  # the loop itself holds tasks only weakly


class Renewer:
    """The thread. `add` costs no switch of threads while it sleeps for no longer than the new lock can wait."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self.grants: set[Grant] = set()
        self._thread: threading.Thread | None = None
        self._wakes_at = 0.0

    def add(self, grant: Grant) -> None:
        with self._news:
            self.grants.add(grant)
            if self._thread is None or not self._thread.is_alive():  # a forked child has no copy of it
                self._start()
            elif grant.next_renewal < self._wakes_at:
                self._news.notify()

    def remove(self, grant: Grant) -> None:
        with self._news:
            self.grants.discard(grant)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="lock-renewal", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            for grant in self._due():
                self._renew(grant)

    def _due(self) -> list[Grant]:
        """Waits until a lock is to be renewed."""
        with self._news:
            self.grants = {grant for grant in self.grants if not grant.over}
            self._wakes_at = min((grant.next_renewal for grant in self.grants), default=float("inf"))
            seconds = self._wakes_at - time.monotonic()
            if seconds > 0:
                self._news.wait(min(seconds, threading.TIMEOUT_MAX))
            now = time.monotonic()
            return [grant for grant in self.grants if grant.next_renewal <= now and not grant.over]

    @staticmethod
    def _renew(grant: Grant) -> None:
        grant.postpone_renewal()  # until it has worked
        with suppress(RedisError, OSError):
            if grant.abandoned:
                grant.withdraw()
            else:
                grant.renew()


renewer = Renewer()


def renew_in_loop(grant: Grant) -> None:
    """Have the running loop renew this lock until it is over."""
    loop = asyncio.get_running_loop()
    grant.timer = loop.call_later(max(0.0, grant.next_renewal - time.monotonic()), _start, grant)


def _start(grant: Grant) -> None:
    if not grant.over:
        task = asyncio.get_running_loop().create_task(_renew(grant))
        _renewing.add(task)
        task.add_done_callback(_renewing.discard)


async def _renew(grant: Grant) -> None:
    grant.postpone_renewal()
    with suppress(RedisError, OSError):
        if grant.abandoned:
            await grant.awithdraw()
        else:
            await grant.arenew()
    if not grant.over:
        renew_in_loop(grant)
