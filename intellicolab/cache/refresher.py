"""Background threads for refreshes: few, because a refresh that waits costs nobody anything."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from django.db import connections

from .effects import Operation, drive

logger = logging.getLogger("intellicolab.cache")

THREADS = 2
MAX_WAITING = 1000  # refreshes; a value that is passed over is still fresh or stale enough, and asked for again


class Refresher:
    """One refresh a name at a time. Threads are made at the first refresh."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._names: set[str] = set()
        self._pool: ThreadPoolExecutor | None = None

    def submit(self, name: str, operation: Callable[[], Operation[Any]]) -> None:
        with self._lock:
            if name in self._names or len(self._names) >= MAX_WAITING:
                return
            self._names.add(name)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="cache-refresh")
            self._pool.submit(self._run, name, operation)

    def close(self) -> None:
        """End the threads after the refreshes begun."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)
            self._names.clear()

    def _run(self, name: str, operation: Callable[[], Operation[Any]]) -> None:
        try:
            drive(operation())
        except Exception:  # nobody waits for the result; without this line nobody would hear of it either
            logger.exception("%s could not be refreshed", name)
        finally:
            connections.close_all()  # refreshes are rare: no connection is worth keeping for the next
            with self._lock:
                self._names.discard(name)


refresher = Refresher()
