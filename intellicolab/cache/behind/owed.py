"""Operations whose answer was lost: sent again, under the same id, until their fate is known."""

import atexit
import logging
import threading
from collections.abc import Callable

from django.db import DatabaseError, connections
from redis.exceptions import RedisError

logger = logging.getLogger("intellicolab.cache")

RETRY_SECONDS = 1.0
MAX_OWED = 1000  # the breaker lets few calls run into a server that hangs, so this many means something else


class Owed:
    """Calls by their operation's id; a thread tries them until none is left. Lost with the process, and then logged."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._calls: dict[str, Callable[[], object]] = {}
        self._thread: threading.Thread | None = None
        self._settling = threading.Lock()
        self._stop = threading.Event()

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, operation: str, call: Callable[[], object]) -> None:
        """`call` raises RedisError or OSError as long as its fate is unknown."""
        with self._lock:
            if len(self._calls) >= MAX_OWED:
                logger.error("%s: more than %d writes without an answer; one is given up", self._name, MAX_OWED)
                return
            self._calls[operation] = call
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="behind-owed", daemon=True)
                self._thread.start()
                atexit.register(self.close)

    def settle(self) -> None:
        """Try each once, as long as Redis answers."""
        with self._settling:  # two at once would both do what Redis sends back for the database to take
            for operation, call in list(self._calls.items()):
                try:
                    call()
                except (RedisError, OSError, DatabaseError):
                    return
                with self._lock:
                    self._calls.pop(operation, None)

    def close(self) -> None:
        """A last try, at the end of the process."""
        self._stop.set()
        self.settle()
        if self._calls:
            logger.error("%s: %d writes without an answer may be lost", self._name, len(self._calls))

    def _run(self) -> None:
        while not self._stop.wait(RETRY_SECONDS):
            self.settle()
            connections.close_all()
            with self._lock:
                if not self._calls:
                    self._thread = None
                    return
