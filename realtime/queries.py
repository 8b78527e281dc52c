"""Every read of chat. What a person may see is decided by their memberships, never by the id they sent."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from accounts.models import User
from accounts.profiles import Profile, get_profiles

from . import frames, positions
from .errors import ChatError
from .models import Membership, Mention, Message, Room
from .positions import NOWHERE, Position
from .room_settings import RoomSettings, settings_of_many

PAGE = 50  # messages a page of history

Counts = dict[int, int]


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
    people: int
    role: str
    read: Position
    mentions: int
    other: Profile | None = None

    @property
    def unread(self) -> int:
        return max(self.last_number - self.read.number, 0)

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
    rows = list(Membership.objects.filter(which, user=user_id).annotate(
        last_number=F("room__last_number"), last_version=F("room__last_version"), people=F("room__people"),
        named=_named_above_stored(),
    ))  # fmt: skip
    reads, mentions = _reads_and_mentions(rows, waiting)
    rooms = settings_of_many(row.room_id for row in rows)
    others = {room.id: room.other(user_id) for room in rooms.values()}
    profiles = get_profiles([person for person in others.values() if person is not None])
    return [
        _entry(rooms[row.room_id], row, reads[row.pk], mentions[row.pk], profiles.get(others[row.room_id] or 0))
        for row in rows
        if row.room_id in rooms
    ]


def _entry(room: RoomSettings, row: Any, read: Position, mentions: int, other: Profile | None) -> RoomEntry:
    title = room.name if room.kind != Room.Kind.DIRECT else other.name if other else "Direct room"
    return RoomEntry(
        id=room.id,
        kind=room.kind,
        title=title,
        topic=room.topic,
        archived_at=room.archived_at,
        last_number=row.last_number,
        last_version=row.last_version,
        people=row.people,
        role=row.role,
        read=read,
        mentions=mentions,
        other=other,
    )


def _reads_and_mentions(rows: Iterable[Any], waiting: Mapping[int, Position]) -> tuple[dict[int, Position], Counts]:
    """By membership: how far the person has read, and how often they are mentioned above that. Of rows with `named`."""
    reads = {row.pk: max(positions.stored(row), waiting.get(row.pk, NOWHERE)) for row in rows}
    mentions = {row.pk: row.named for row in rows}
    return reads, mentions | _named_above({pk: reads[pk] for pk in waiting if pk in reads})


def _named_above_stored() -> Coalesce:
    """Counted in the index from the position on: a filter of a join would look at every mention there ever was."""
    above = Mention.objects.filter(membership=OuterRef("pk"), number__gt=OuterRef("last_read_number")).order_by()
    return Coalesce(Subquery(above.values("membership").annotate(count=Count("pk")).values("count")), 0)


def _named_above(reads: dict[int, Position]) -> dict[int, int]:
    """{membership: mentions above a position that is not in the database yet}."""
    if not reads:
        return {}
    above = Q()
    for membership, read in reads.items():
        above |= Q(membership=membership, number__gt=read.number)
    counted = Mention.objects.filter(above).values("membership").annotate(count=Count("pk"))
    return dict.fromkeys(reads, 0) | dict(counted.values_list("membership", "count"))


def room_for(user: User, room_id: int) -> Room:
    """The row of one of the person's rooms, for services. Raises ChatError as `entry_for`."""
    room = Room.objects.of(user).filter(pk=room_id).first()
    if room is None:
        raise ChatError("no_room")
    return room


def memberships_of(user_id: int) -> dict[int, int]:
    """{room id: membership id} of the person's rooms."""
    return dict(Membership.objects.filter(user=user_id).values_list("room_id", "pk"))


class Standing(NamedTuple):
    """How a person stands in their rooms, by room: its last version, up to where they have read, and where there are
    any, how many mentions are above that."""

    versions: dict[int, int]
    reads: dict[int, Position]
    mentions: dict[int, int]


def standing_of(user_id: int, waiting: Mapping[int, Position]) -> Standing:
    """`waiting` holds positions that were not in the database yet, asked for before."""
    columns = ("room_id", "read_epoch", "last_read_number")
    rows = list(Membership.objects.filter(user=user_id).only(*columns).annotate(
        last_version=F("room__last_version"), named=_named_above_stored(),
    ))  # fmt: skip
    reads, mentions = _reads_and_mentions(rows, waiting)
    return Standing(
        {row.room_id: row.last_version for row in rows},
        {row.room_id: reads[row.pk] for row in rows},
        {row.room_id: mentions[row.pk] for row in rows if mentions[row.pk]},
    )


def own_message(user: User, room_id: int, number: int) -> Message:
    """A message that the person wrote, in a room of theirs. Raises ChatError no_message, also where it is another's."""
    own = Message.objects.filter(room=room_id, number=number, author=user, deleted_at=None)
    found = own.filter(room__memberships__user=user).first()
    if found is None:
        raise ChatError("no_message")
    return found


class State(NamedTuple):
    """The last version of a room, and how many people are in it."""

    version: int
    people: int


def states(room_ids: Iterable[int]) -> dict[int, State]:
    rows = Room.objects.filter(pk__in=list(room_ids)).values_list("pk", "last_version", "people")
    return {room_id: State(version, people) for room_id, version, people in rows}


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


def messages_changed(room_id: int, version: int, most: int) -> list[dict[str, Any]] | None:
    """The messages that are new or changed since a version, as they are now; None when they are more than `most`."""
    changed = Message.objects.filter(room=room_id, version__gt=version).select_related("author").order_by("version")
    rows = list(changed[: most + 1])
    return frames.messages(rows) if len(rows) <= most else None


def message_for(user_id: int, room_id: int, number: int) -> tuple[User, Message]:
    """A message of one of the person's rooms, and the person, for services. Raises ChatError no_room, no_message."""
    own = Membership.objects.filter(room=room_id, user=user_id, user__is_active=True).select_related("user").first()
    if own is None:
        raise ChatError("no_room")
    found = Message.objects.filter(room=room_id, number=number).select_related("room").first()
    if found is None:
        raise ChatError("no_message")
    return own.user, found


def rooms_by_person(user_ids: Iterable[int]) -> dict[int, set[int]]:
    """{user id: ids of their rooms}, for those of them that are still active."""
    active = User.objects.filter(pk__in=list(user_ids), is_active=True)
    rooms: dict[int, set[int]] = {user_id: set() for user_id in active.values_list("pk", flat=True)}
    for user_id, room_id in Membership.objects.filter(user__in=rooms).values_list("user_id", "room_id"):
        rooms[user_id].add(room_id)
    return rooms


def small_rooms_of(user_ids: Iterable[int], large: int) -> dict[int, set[int]]:
    """{user id: ids of their rooms with fewer than `large` people}."""
    rows = Membership.objects.filter(user__in=list(user_ids), room__people__lt=large)
    rooms: dict[int, set[int]] = {}
    for user_id, room_id in rows.values_list("user_id", "room_id"):
        rooms.setdefault(user_id, set()).add(room_id)
    return rooms


def neighbours(user_id: int, large: int, limit: int) -> list[int]:
    """Up to `limit` people with whom the person shares a room of fewer than `large` people, themselves included."""
    rooms = Room.objects.of(user_id).filter(people__lt=large)
    people = Membership.objects.filter(room__in=rooms).order_by().values_list("user_id", flat=True)
    return list(people.distinct()[:limit])


def people_of(room_id: int, limit: int) -> list[int]:
    """The first `limit` people of a room."""
    return list(Membership.objects.filter(room=room_id).order_by("pk").values_list("user_id", flat=True)[:limit])


def members_stamp() -> tuple[int, int]:
    """Another one whenever anybody has come into a room or left one, anywhere."""
    return tuple(Room.objects.aggregate(Count("pk"), total=Coalesce(Sum("members_version"), 0)).values())


def active_among(user_ids: Iterable[int]) -> set[int]:
    return set(User.objects.filter(pk__in=list(user_ids), is_active=True).values_list("pk", flat=True))


def is_member(user_id: int, room_id: int) -> bool:
    return Membership.objects.filter(user=user_id, room=room_id, user__is_active=True).exists()


def last_version(room_id: int) -> int:
    return Room.objects.values_list("last_version", flat=True).get(pk=room_id)


def newest_room_of(user: User) -> int | None:
    """The id of the person's room where something was said last; for the way home."""
    newest = Message.objects.filter(room=OuterRef("pk")).order_by("-number").values("created_at")[:1]
    rooms = Room.objects.of(user).current().annotate(newest=Subquery(newest))
    return rooms.order_by(F("newest").desc(nulls_last=True), "pk").values_list("pk", flat=True).first()
