"""Operations whose answer was lost: sent again, under the same id, until their fate is known."""

import atexit
import logging
import threading
import time
from collections.abc import Callable

from django.db import DatabaseError, connections
from redis.exceptions import RedisError

logger = logging.getLogger("intellicolab.cache")

RETRY_SECONDS = 1.0
MAX_WAITING = 1000  # the breaker lets few calls run into a server that hangs, so this many means something else


class Unanswered:
    """Calls by their operation's id; a thread tries them until none is left. Lost with the process, and then logged.

    A call is given up after `known` seconds: the server has forgotten the id then, and would do the same once more.
    """

    def __init__(self, name: str, known: float) -> None:
        self._name = name
        self._known = known
        self._lock = threading.Lock()
        self._calls: dict[str, tuple[float, Callable[[], object]]] = {}  # with when each is given up (monotonic)
        self._thread: threading.Thread | None = None
        self._settling = threading.Lock()
        self._stop = threading.Event()
        atexit.register(self.close)

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, operation: str, call: Callable[[], object]) -> None:
        """`call` raises RedisError or OSError as long as its fate is unknown."""
        with self._lock:
            if len(self._calls) >= MAX_WAITING:
                logger.error("%s: more than %d writes without an answer; one is given up", self._name, MAX_WAITING)
                return
            self._calls[operation] = (time.monotonic() + self._known, call)
            if self._thread is None or not self._thread.is_alive():  # a forked child has no copy of it
                self._thread = threading.Thread(target=self._run, name="behind-unanswered", daemon=True)
                self._thread.start()

    def settle(self) -> None:
        """Try each once, as long as Redis answers."""
        with self._settling:  # two at once would both do what Redis sends back for the database to take
            for operation, (until, call) in list(self._calls.items()):
                try:
                    if time.monotonic() < until:
                        call()
                    else:
                        logger.error("%s: a write had no answer for %d s and is given up", self._name, self._known)
                except (RedisError, OSError, DatabaseError):
                    return
                except Exception:  # the declaration's own code: what it refuses must not keep the others for ever
                    logger.exception("%s: a write without an answer was refused and is given up", self._name)
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
