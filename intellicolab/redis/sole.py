"""A service of which one works in the whole installation: the others stand by until its lock comes free."""

import logging
import threading

from django.db import DatabaseError, close_old_connections, connections
from redis.exceptions import RedisError

from .fence import StaleFence
from .lock import Grant, Lock, LockError, LockLost, LockTimeout
from .pauses import pause_after

LONGEST_PAUSE = 30.0  # seconds, after errors
STOP_SECONDS = 10.0  # for the round that runs and the last one; `serve` grants 15

logger = logging.getLogger("intellicolab.redis")


class SoleService:
    """A thread of `manage.py worker`: rounds under a lock, one after the other, and a last one when it is stopped."""

    title: str  # what the log calls it
    interval = 1.0  # seconds between two rounds

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failures = 0

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name=self._lock.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it after a last round. Raises nothing; what is left waits for the next worker."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def begin(self) -> None:
        """The lock is ours: whatever was remembered of an earlier time may be wrong."""

    def round(self, grant: Grant) -> None:
        """Do what there is to do. Whatever it raises is logged once, and tried again after a while."""
        raise NotImplementedError

    def rest(self) -> None:
        """Between two rounds."""
        self._stop.wait(self.interval)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._attempt()
        connections.close_all()

    def _attempt(self) -> None:
        try:
            with self._lock as grant:
                self._serve(grant)
        except LockTimeout:
            return  # another worker does it
        except Exception as error:  # the service must outlive any fault: an outage, or a declaration's own code
            self._note_failure(error)

    def _serve(self, grant: Grant) -> None:
        """Rounds until it is told to stop, and one after that. Raises LockLost and StaleFence."""
        self.begin()
        while True:
            stopping = self._stop.is_set()
            try:
                self._round(grant)
            except (LockLost, StaleFence):
                raise
            except Exception as error:  # see `_attempt`; the lock is kept, because nobody else would do better
                self._note_failure(error)
            if stopping:
                return
            self.rest()

    def _round(self, grant: Grant) -> None:
        close_old_connections()
        grant.check()
        self.round(grant)
        if self._failures:
            logger.info("%s works again", self.title)
        self._failures = 0

    def _note_failure(self, error: Exception) -> None:
        if not self._failures:
            known = isinstance(error, LockError | StaleFence | DatabaseError | RedisError | OSError)
            logger.error("%s cannot work and tries again: %s", self.title, error, exc_info=not known)
        self._failures += 1
        self._stop.wait(pause_after(self._failures, first=1.0, longest=LONGEST_PAUSE))
