"""What the chat of this process did: what its sockets were sent, counted a batch at a time, never a frame and socket at
a time, and where pages of history came from."""

from collections import Counter
from dataclasses import dataclass, field

from intellicolab.redis.counters import counters

FAMILY = "chat"
FRAMES, BYTES = "frames", "bytes"
# Pages of history that were looked for in Redis: found; found, but for what was new in the database; not found.
HIT, CAUGHT_UP, MISS = "history:hit", "history:caught-up", "history:miss"


@dataclass(slots=True)
class Figures:
    """Since the process began. `most_waiting` is the most bytes that ever waited for one socket."""

    frames: int = 0  # of rooms and people, once for each socket that they went to
    bytes: int = 0  # of these, on the wire, without what TCP adds
    most_waiting: int = 0
    closed: Counter[int] = field(default_factory=Counter)  # sockets, by the code that the server closed them with

    def sent(self, frames: int, size: int, sockets: int) -> None:
        """Frames of together `size` bytes went to so many sockets."""
        self.frames += frames * sockets
        self.bytes += size * sockets
        counters.add(FAMILY, FRAMES, frames * sockets)
        counters.add(FAMILY, BYTES, size * sockets)

    def waits(self, size: int) -> None:
        if size > self.most_waiting:
            self.most_waiting = size

    def turned_page(self, result: str) -> None:
        counters.add(FAMILY, result)

    def hung_up(self, code: int) -> None:
        self.closed[code] += 1
        counters.add(FAMILY, closed_with(code))


def closed_with(code: int) -> str:
    """A counter's field of the family."""
    return f"closed:{code}"


figures = Figures()
