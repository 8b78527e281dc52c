"""How often rooms are opened: counted behind, each opening exactly once."""

from collections.abc import Iterable, Mapping, Sequence

from intellicolab.cache.behind import add_sums
from intellicolab.cache.behind.strategy import WriteBehindSum
from intellicolab.cache.declaration import Cached

from .models import Room

TTL = 60.0  # seconds


def _load(room_id: int) -> int | None:
    return _load_many([room_id]).get(room_id)


def _load_many(room_ids: Sequence[int]) -> dict[int, int]:
    return dict(Room.objects.filter(pk__in=room_ids).values_list("pk", "visits"))


def _write(amounts: Mapping[int, int]) -> None:
    # Locked in this order as everywhere: two transactions then can't wait for each other.
    list(Room.objects.select_for_update().filter(pk__in=amounts).order_by("pk").values_list("pk"))
    add_sums(Room.objects.all(), "visits", amounts)


_visits: Cached[int] = Cached(
    "room-visits", "{room_id}", _load, many=_load_many, ttl=TTL, type=int, strategy=WriteBehindSum(write=_write)
)


def count(room_id: int) -> None:
    """One of its members opens the room. Raises DatabaseError without Redis and database."""
    _visits.add(room_id)


def totals(room_ids: Iterable[int]) -> dict[int, int]:
    """How often each of these rooms was opened, exactly: what waits to be written is counted, too."""
    return {room_id: total or 0 for room_id, total in _visits.get_many(room_ids).items()}
