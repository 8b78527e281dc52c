"""What the producing process needs of a queue. Each module of this package has a `Queue` that is one."""

import os

URL = os.environ.get("JOBS_REDIS", "")
KEPT = os.environ.get("JOBS_RESULTS", "kept") == "kept"
CONCURRENCY = 32


class Producer:
    """Enqueues jobs: `work(number, seconds)` of bench/queues/work.py."""

    bulk = False

    async def open(self) -> None:
        """Called once, before all else."""

    async def enqueue(self, number: int, seconds: float = 0.0) -> None:
        """One call, as an application would make it; done when the job is stored."""
        raise NotImplementedError

    async def enqueue_many(self, numbers: range) -> None:
        """The queue's own way of storing many jobs at once; only where `bulk`."""
        raise NotImplementedError

    async def results(self) -> int:
        """How many results are stored."""
        raise NotImplementedError
