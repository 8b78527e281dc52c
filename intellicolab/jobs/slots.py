"""How many jobs a worker has in hand, and how many of them run."""

import asyncio

QUICK = 0.02  # seconds; shorter jobs are fetched ahead of time, or the worker would wait for Redis between them
SHARE = 0.05  # of the newest job in the mean


class Slots:
    """As many run as `concurrency`. As many more wait here for their turn while jobs are quick, and none otherwise: a
    job that waits behind a long one could be run by another worker."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.running = asyncio.Semaphore(concurrency)
        self._in_hand = 0
        self._mean = QUICK
        self._room = asyncio.Event()
        self._room.set()

    async def free(self) -> int:
        """How many may be fetched; waits until it is one at least."""
        while (room := self._limit() - self._in_hand) <= 0:
            self._room.clear()
            await self._room.wait()
        return room

    def take(self) -> None:
        self._in_hand += 1

    def release(self) -> None:
        self._in_hand -= 1
        self._room.set()

    def note(self, seconds: float) -> None:
        """That a job took so long."""
        self._mean += (seconds - self._mean) * SHARE

    def _limit(self) -> int:
        return self.concurrency * (2 if self._mean < QUICK else 1)
