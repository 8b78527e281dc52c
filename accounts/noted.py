"""What a process has noted of late, so that it does not ask Redis at each request whether to note it again."""

import time
from collections.abc import Hashable

REMEMBERED = 10_000  # people, or sessions


class Noted(dict[Hashable, float]):
    """When each was noted last (monotonic seconds)."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def is_due(self, what: Hashable) -> bool:
        """Whether its last note is old enough for another, which the caller is about to make."""
        now = time.monotonic()
        if now - self.get(what, -self._seconds) < self._seconds:
            return False
        if len(self) >= REMEMBERED:
            self.clear()  # costs one call for each that is in use
        self[what] = now
        return True
