"""The Redis server's time, known without asking it each time.

The end of a value's freshness is written by the server's clock, and the clocks of web machines differ. The difference
to our monotonic clock is learnt once a minute, which is exact to a round trip.
"""

import time

RESYNC = 60.0  # seconds; a quartz drifts by less than 10 ms in them


class ServerClock:
    def __init__(self) -> None:
        self._offset = 0.0
        self._learnt = float("-inf")

    def is_due(self) -> bool:
        """Whether the next call should bring the server's time along."""
        return time.monotonic() - self._learnt > RESYNC

    def learn(self, microseconds: int) -> None:
        """What the server's clock has just said (Unix time)."""
        self._learnt = time.monotonic()
        self._offset = microseconds / 1e6 - self._learnt

    def now(self) -> float:
        """Unix time in seconds."""
        return time.monotonic() + self._offset

    def to_monotonic(self, unix: float) -> float:
        """The same moment by `time.monotonic`."""
        return unix - self._offset


clock = ServerClock()
