"""How a supervisor is asked to end: between its steps, and in the middle of one that may take long."""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal ended what was under way; like KeyboardInterrupt, nothing that handles errors catches it."""


class Stop:
    """Takes over the signals when made, in the main thread."""

    def __init__(self, numbers: Iterable[int] = SIGNALS) -> None:
        self._event = threading.Event()
        self._interrupts = False
        for number in numbers:
            signal.signal(number, self._signalled)

    def wait(self, seconds: float) -> bool:
        """Whether a signal has come, or comes within this time."""
        return self._event.wait(seconds)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Within it a signal raises Stopped; elsewhere it waits for the next `wait`."""
        self._interrupts = True
        try:
            if self._event.is_set():
                raise Stopped
            yield
        finally:
            self._interrupts = False

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._event.set()
        if self._interrupts:
            self._interrupts = False  # once: what it interrupts must be able to tidy up
            raise Stopped
