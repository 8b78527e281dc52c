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

    async def claim(self, most: int) -> int:
        """Places for jobs to be fetched, of which another queue must not think that they are free. Waits for one."""
        while (room := self._limit() - self._in_hand) <= 0:
            self._room.clear()
            await self._room.wait()
        claimed = min(room, most)
        self._in_hand += claimed
        return claimed

    def take(self) -> None:
        self._in_hand += 1

    def release(self, count: int = 1) -> None:
        self._in_hand -= count
        self._room.set()

    def note(self, seconds: float) -> None:
        """That a job took so long."""
        self._mean += (seconds - self._mean) * SHARE

    def _limit(self) -> int:
        return self.concurrency * (2 if self._mean < QUICK else 1)
