"""The state server's time as this process knows it, for stamps that are given while the server does not answer."""

import threading
import time


class StampClock:
    """Microseconds of Unix time. Before the server has said its own, it is this machine's."""

    def __init__(self) -> None:
        self._offset = time.time_ns() // 1000 - time.monotonic_ns() // 1000
        self._lock = threading.Lock()
        self.floor = 0  # the last stamp given here: later ones, also the server's, must be higher

    def now(self) -> int:
        return time.monotonic_ns() // 1000 + self._offset

    def learn(self, server: int) -> None:
        """What the server's clock has just said."""
        self._offset = server - time.monotonic_ns() // 1000

    def stamp(self) -> int:
        """A stamp for a row that is written without the server: never the same twice in this process."""
        with self._lock:
            self.floor = max(self.now(), self.floor + 1)
            return self.floor
