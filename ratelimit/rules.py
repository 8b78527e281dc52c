"""What is limited: a rule's name, how many requests it admits in how long, and what it decided."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """`limit` requests in each window of `window_ms` milliseconds. The name is part of the key in Redis."""

    name: str
    limit: int
    window_ms: int = 60_000


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request may pass, how many more may, and the milliseconds until the window ends."""

    allowed: bool
    remaining: int
    reset_ms: int

    @property
    def retry_after(self) -> int:
        """Whole seconds until a request may pass again, at least 1 (RFC 9110, section 10.2.3)."""
        return max(1, math.ceil(self.reset_ms / 1000))
