"""Every read of chat. What a person may see is decided by their memberships, never by the id they sent."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery

from accounts.models import User
from accounts.profiles import Profile, get_profiles

from . import frames, positions
from .errors import ChatError
from .models import Membership, Message, Room
from .room_settings import RoomSettings, settings_of_many

PAGE = 50  # messages a page of history
RESUME_PAGE = 200  # changed messages an answer to room.resume
RESUME_MAX = 2000  # changes; who is further behind loads the room again


@dataclass(frozen=True, slots=True)
class RoomEntry:
    """A room as one of its members sees it; a direct room is titled with the other person's name."""

    id: int
    kind: str
    title: str
    topic: str
    archived_at: datetime | None
    last_number: int
    last_version: int
    last_read: int
    other: Profile | None = None

    @property
    def unread(self) -> int:
        return max(self.last_number - self.last_read, 0)

    @property
    def is_archived(self) -> bool:
        return self.archived_at is not None


def rooms_of(user: User) -> list[RoomEntry]:
    """The person's rooms by title; two queries whatever their number, and more only for what is not cached."""
    entries = _entries(user.pk, Q())
    return sorted(entries, key=lambda entry: (entry.title.casefold(), entry.id))


def entry_for(user: User, room_id: int) -> RoomEntry:
    """One of the person's rooms. Raises ChatError no_room: also where it exists, so ids tell nothing."""
    entries = _entries(user.pk, Q(room=room_id))
    if not entries:
        raise ChatError("no_room")
    return entries[0]


def _entries(user_id: int, which: Q) -> list[RoomEntry]:
    waiting = positions.waiting(user_id, which)
    rows = Membership.objects.filter(which, user=user_id)
    counts = {
        room_id: (number, version, max(read, waiting.get(pk, 0)))
        for pk, room_id, number, version, read in rows.values_list(
            "pk", "room_id", "room__last_number", "room__last_version", "last_read_number"
        )
    }
    rooms = settings_of_many(counts)
    others = {room.id: room.other(user_id) for room in rooms.values()}
    profiles = get_profiles([person for person in others.values() if person is not None])
    return [_entry(room, *counts[room.id], profiles.get(others[room.id] or 0)) for room in rooms.values()]


def _entry(room: RoomSettings, number: int, version: int, read: int, other: Profile | None) -> RoomEntry:
    title = room.name if room.kind != Room.Kind.DIRECT else other.name if other else "Direct room"
    return RoomEntry(room.id, room.kind, title, room.topic, room.archived_at, number, version, read, other)


def room_for(user: User, room_id: int) -> Room:
    """The row of one of the person's rooms, for services. Raises ChatError as `entry_for`."""
    room = Room.objects.of(user).filter(pk=room_id).first()
    if room is None:
        raise ChatError("no_room")
    return room


def versions_of(user_id: int) -> dict[int, int]:
    """{room id: last version} of the person's rooms."""
    return dict(Room.objects.of(user_id).values_list("pk", "last_version"))


def versions(room_ids: Iterable[int]) -> dict[int, int]:
    return dict(Room.objects.filter(pk__in=list(room_ids)).values_list("pk", "last_version"))


def joined_among(user: User, room_ids: Iterable[int]) -> set[int]:
    """Those of these rooms that the person is in."""
    return set(Membership.objects.filter(user=user, room__in=list(room_ids)).values_list("room_id", flat=True))


def members(room_id: int) -> QuerySet[Membership]:
    return Membership.objects.filter(room=room_id).select_related("user").order_by("user__display_name", "pk")


def people(user: User) -> QuerySet[User]:
    """Everybody one can talk to, oneself left out."""
    return User.objects.filter(is_active=True, is_placeholder=False).exclude(pk=user.pk).order_by("display_name", "pk")


def addable(room_id: int) -> QuerySet[User]:
    """Active people who are not in the room yet."""
    inside = Membership.objects.filter(room=room_id, user=OuterRef("pk"))
    return User.objects.filter(~Exists(inside), is_active=True, is_placeholder=False).order_by("display_name", "pk")


def messages_before(room_id: int, before: int | None = None, limit: int = PAGE) -> list[dict[str, Any]]:
    """The `limit` messages below number `before` (the newest without it), oldest first: keyset, never OFFSET."""
    below = Q() if before is None else Q(number__lt=before)
    rows = Message.objects.filter(below, room=room_id).select_related("author").order_by("-number")[:limit]
    return frames.messages(reversed(rows))


def messages_after(room_id: int, after: int, limit: int = PAGE) -> list[dict[str, Any]]:
    """The `limit` messages above number `after`, oldest first: the way back from `messages_before`."""
    rows = Message.objects.filter(room=room_id, number__gt=after).select_related("author").order_by("number")[:limit]
    return frames.messages(rows)


@dataclass(frozen=True, slots=True)
class Changes:
    """Messages changed after a version, by version. `upto` is the version a client has once it applied them."""

    messages: list[dict[str, Any]]
    upto: int
    more: bool
    reset: bool = False


def changes_since(room_id: int, version: int, limit: int = RESUME_PAGE) -> Changes:
    """What changed in a room after `version`; `reset` when that is more than RESUME_MAX changes.

    The room's version is read before its rows: a change between the two reads comes again, and is not missed.
    """
    last = Room.objects.values_list("last_version", flat=True).get(pk=room_id)
    if last - version > RESUME_MAX:
        return Changes([], last, more=False, reset=True)
    rows = list(
        Message.objects.filter(room=room_id, version__gt=version)
        .select_related("author")
        .order_by("version")[: limit + 1]
    )
    more = len(rows) > limit
    rows = rows[:limit]
    upto = rows[-1].version if more else max(last, rows[-1].version if rows else 0)
    return Changes(frames.messages(rows), upto, more)


def rooms_by_person(user_ids: Iterable[int]) -> dict[int, set[int]]:
    """{user id: ids of their rooms}, for those of them that are still active."""
    active = User.objects.filter(pk__in=list(user_ids), is_active=True)
    rooms: dict[int, set[int]] = {user_id: set() for user_id in active.values_list("pk", flat=True)}
    for user_id, room_id in Membership.objects.filter(user__in=rooms).values_list("user_id", "room_id"):
        rooms[user_id].add(room_id)
    return rooms


def is_member(user_id: int, room_id: int) -> bool:
    return Membership.objects.filter(user=user_id, room=room_id, user__is_active=True).exists()


def last_version(room_id: int) -> int:
    return Room.objects.values_list("last_version", flat=True).get(pk=room_id)


def newest_room_of(user: User) -> int | None:
    """The id of the person's room where something was said last; for the way home."""
    newest = Message.objects.filter(room=OuterRef("pk")).order_by("-number").values("created_at")[:1]
    rooms = Room.objects.of(user).current().annotate(newest=Subquery(newest))
    return rooms.order_by(F("newest").desc(nulls_last=True), "pk").values_list("pk", flat=True).first()
