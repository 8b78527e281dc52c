"""Where the rows of the outbox go: facts to their streams, what other packages write there to places of their own."""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Protocol, TypeVar

from . import streams
from .groups import groups
from .outbox import NumberedRow
from .schema import streams as streams_of_facts


class Carrier(Protocol):
    """Takes rows by their positions, so that it can be asked for the same again. `kept` is for how long they stay in
    the outbox, to be taken again when Redis has lost what was newest."""

    kept: timedelta

    def streams(self) -> Iterable[str]:
        """All that it is for."""

    def last_position(self, stream: str) -> int:
        """Of the row that was taken last; 0 for none. Raises RedisError."""

    def append(self, stream: str, rows: Sequence[NumberedRow], after: int, fence: int) -> int:
        """Take rows that follow position `after`; the last position now.

        Raises StaleFence, EntriesLost, StreamFull, RedisError.
        """

    def sweep(self, stream: str) -> None:
        """Tidy up, now and then. Raises RedisError."""


class FactCarrier:
    """A failover loses seconds, a server that is restored from its file minutes."""

    kept = timedelta(hours=1)

    def streams(self) -> Iterable[str]:
        return streams_of_facts()

    def last_position(self, stream: str) -> int:
        return streams.last_position(stream)

    def append(self, stream: str, rows: Sequence[NumberedRow], after: int, fence: int) -> int:
        return streams.append(stream, rows, after, fence)

    def sweep(self, stream: str) -> None:
        streams.sweep(stream, [group.name for group in groups() if stream in group.streams])


_facts = FactCarrier()
_carriers: dict[str, Carrier] = {}
C = TypeVar("C", bound=Callable[[], Carrier])


def carries(prefix: str) -> Callable[[C], C]:
    """Have an instance of this class take what is written for streams whose names begin so."""

    def register(made: C) -> C:
        _carriers[prefix] = made()
        return made

    return register


def carrier_of(stream: str) -> Carrier:
    found = (carrier for prefix, carrier in _carriers.items() if stream.startswith(prefix))
    return next(found, _facts)


def all_streams() -> set[str]:
    """Of all carriers."""
    return {stream for carrier in (_facts, *_carriers.values()) for stream in carrier.streams()}
