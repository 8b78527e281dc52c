"""What a room is called, what it is for, and who may find it: written through, and kept in the process itself.

Pages and services that need no lock read it here. Who may do what in a room is decided by memberships, and inside a
transaction by the row that it has locked.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from intellicolab.cache.declaration import Cached
from intellicolab.cache.strategies import WriteThrough

from .models import Room

SETTINGS_TTL = 60 * 60  # seconds
LOCAL = (5_000, 4 * 1024 * 1024)  # rooms and bytes of this process; a topic may have 250 characters

# The columns that a writer changes, named as in the row.
WRITTEN = ("name", "topic", "archived_at")


class RoomSettings(msgspec.Struct, frozen=True):
    """`between` holds the ids of a direct room's two people; of other rooms it is empty."""

    id: int
    kind: str
    name: str
    topic: str
    archived_at: datetime | None
    between: tuple[int, ...]

    @property
    def is_archived(self) -> bool:
        return self.archived_at is not None

    def other(self, user_id: int) -> int | None:
        """With whom this person talks in a direct room."""
        return next((person for person in self.between if person != user_id), None)


def settings_in(room: Room) -> RoomSettings:
    """The settings as the row itself has them."""
    between = tuple(map(int, room.direct_key.split(":"))) if room.direct_key else ()
    return RoomSettings(room.pk, room.kind, room.name, room.topic, room.archived_at, between)


def _load(room_id: int) -> RoomSettings | None:
    return _load_many([room_id]).get(room_id)


def _load_many(room_ids: Sequence[int]) -> dict[int, RoomSettings]:
    rows = Room.objects.filter(pk__in=room_ids).only("kind", "direct_key", *WRITTEN)
    return {room.pk: settings_in(room) for room in rows}


def _write(room_id: int, value: RoomSettings) -> RoomSettings:
    Room.objects.filter(pk=room_id).update(**{name: getattr(value, name) for name in WRITTEN})
    return value


_settings: Cached[RoomSettings] = Cached(
    "room-settings", "{room_id}", _load, many=_load_many, ttl=SETTINGS_TTL, type=RoomSettings,
    strategy=WriteThrough(writer=_write), local=LOCAL,
)  # fmt: skip


def settings_of_many(room_ids: Iterable[int]) -> dict[int, RoomSettings]:
    """The settings by id of those rooms that exist, in one round trip at most."""
    return {room_id: found for room_id, found in _settings.get_many(room_ids).items() if found is not None}


def write(room: Room) -> None:
    """Store what was changed in a row that the running transaction has locked; in the cache after its commit."""
    _settings.set(room.pk, value=settings_in(room))
