"""Tells the relay that something waits in the outbox. Without it the relay finds out by itself, within a second."""

import threading
import time

from .schema import Event, event
from .signals import signal

PAUSE = 0.005  # seconds between two signals: a busy relay goes on by itself


@event("outbox:filled")
class OutboxFilled(Event):
    """A transaction has committed that wrote to the outbox."""


class Waker:
    """One a process. A commit must not wait for Redis: a thread of its own sends the signal, one for many commits."""

    def __init__(self) -> None:
        self._news = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Never raises and never waits. What a process that ends has not told yet, the relay finds by itself."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="waker", daemon=True)
                self._thread.start()
        self._news.set()

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            signal(OutboxFilled())
            time.sleep(PAUSE)


waker = Waker()
