"""Background threads for refreshes: few, because a refresh that waits costs nobody anything."""

import logging
import os
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from django.db import connections

from .effects import Operation, drive

logger = logging.getLogger("intellicolab.cache")

THREADS = 2
MAX_WAITING = 1000  # refreshes; a value that is passed over is still fresh or stale enough, and asked for again

Job = tuple[str, Callable[[], Operation[Any]]]


class Refresher:
    """One refresh a name at a time. Threads are made as refreshes come.

    They are daemons: the end of the process waits for no loader. A refresh that is cut off has changed nothing.
    """

    def __init__(self) -> None:
        self.start_afresh()
        os.register_at_fork(after_in_child=self.start_afresh)

    def start_afresh(self) -> None:
        """In a forked child there are no threads of ours, and the lock may be held for ever."""
        self._lock = Lock()
        self._names: set[str] = set()
        self._waiting: SimpleQueue[Job] = SimpleQueue()
        self._threads = 0

    def submit(self, name: str, operation: Callable[[], Operation[Any]]) -> None:
        with self._lock:
            if name in self._names or len(self._names) >= MAX_WAITING:
                return
            self._names.add(name)
            self._waiting.put((name, operation))
            if self._threads < min(THREADS, len(self._names)):
                self._threads += 1
                Thread(target=self._work, args=[self._waiting], name="cache-refresh", daemon=True).start()

    def _work(self, waiting: "SimpleQueue[Job]") -> None:
        while True:
            self._run(*waiting.get())

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
