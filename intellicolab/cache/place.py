"""One key of a cached thing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from intellicolab.redis import keys

from . import envelope


@dataclass(slots=True, eq=False)
class Place:
    """One key that has to be loaded, or is written: where its value lies, and what is known of it."""

    key: Any
    name: str
    tags: Sequence[str]
    stamps: bytes = b""
    seen: bytes = b""  # header of the value that is there
    value: Any = None
    usable: bool = False  # `value` may be served for lack of a fresh one
    token: str = ""

    def saw(self, data: bytes, value: Any = None, usable: bool = False) -> "Place":
        """What lies there and is too old to be served, at least as long as a fresh one can be had."""
        self.seen, self.value, self.usable = envelope.header(data), value, usable
        return self

    @property
    def flight(self) -> str:
        return keys.flight(self.name)

    @property
    def wake(self) -> str:
        return keys.wake(self.name)
