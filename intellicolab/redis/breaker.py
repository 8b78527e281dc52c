"""A circuit breaker: a Redis that does not answer must not cost each request its timeout.

After a failure nobody asks for a while; then one caller tries again while the others go on without an answer
(M. Nygard, "Release It!"). A dead server costs one request in `pause` seconds one timeout, and is found again
within `pause` seconds of its return.
"""

import logging
import threading
import time

logger = logging.getLogger("intellicolab.redis")

PAUSE = 1.0  # seconds between two attempts


class Breaker:
    """Thread-safe. Ask `ready()` before a call and report it with `succeeded()` or `failed(error)`.

    `name` and `meanwhile` are for the log: who asks, and what happens while nobody answers.
    """

    def __init__(self, name: str, meanwhile: str, pause: float = PAUSE) -> None:
        self._name = name
        self._meanwhile = meanwhile
        self._pause = pause
        self._lock = threading.Lock()
        self._open = False
        self._next_attempt = 0.0

    def ready(self) -> bool:
        """Whether the caller should make its call; while open, true for one caller in each pause."""
        if not self._open:
            return True
        with self._lock:
            now = time.monotonic()
            if now < self._next_attempt:
                return False
            self._next_attempt = now + self._pause
            return True

    def succeeded(self) -> None:
        if self._open and self._change(is_open=False):
            logger.info("%s: Redis answers again", self._name)

    def failed(self, error: BaseException) -> None:
        if self._change(is_open=True):
            logger.error("%s: Redis gives no answer (%s); %s", self._name, error, self._meanwhile)

    def _change(self, *, is_open: bool) -> bool:
        with self._lock:
            changed, self._open = self._open is not is_open, is_open
            self._next_attempt = time.monotonic() + self._pause
        return changed
