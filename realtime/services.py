"""Every write to chat. A write to a room locks that room's row first, so its numbers and versions have no gaps.

What the caller may do is decided inside the same transaction, from the database. News is published when the
transaction has committed, and only then.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Case, Value, When
from django.utils import timezone

from accounts.models import User

from . import directory, frames, positions, room_settings
from .errors import ChatError
from .markdown import render
from .models import Membership, Message, Room
from .publisher import publisher

logger = logging.getLogger("realtime")

FIRST_ROOM_NAME = "General"


# --- Rooms ---------------------------------------------------------------------------------------------------------


def create_room(user: User | None, name: str, kind: str = Room.Kind.OPEN, topic: str = "") -> Room:
    """A room that `user` owns; an import may make one without an owner. Raises ChatError bad_name, name_taken."""
    try:
        with transaction.atomic():
            room = Room.objects.create(name=_checked_name(name), kind=kind, topic=topic.strip()[:250], created_by=user)
            room_settings.write(room)
            directory.forget_after_commit()
            if user is not None:
                Membership.objects.create(room=room, user=user, role=Membership.Role.OWNER)
                _tell(user.pk, frames.added(room.pk))
    except IntegrityError as error:
        raise ChatError("name_taken") from error
    return room


def join_room(user: User, room: Room) -> Membership:
    """Enter an open room; joining twice is joining once. Raises ChatError not_open, archived."""
    if room.kind != Room.Kind.OPEN:
        raise ChatError("not_open")
    if room.is_archived:
        raise ChatError("archived")
    return _enter(room, user)


def join_first_room(user: User) -> None:
    """Let a new person into the oldest open room, where the others are."""
    room = Room.objects.directory().order_by("id").first()
    if room is not None:
        _enter(room, user)


def add_member(by: User, room: Room, user: User) -> Membership:
    """Let another person in. Raises ChatError not_member, archived, inactive, direct_room."""
    if room.kind == Room.Kind.DIRECT:
        raise ChatError("direct_room")
    if room.is_archived:
        raise ChatError("archived")
    if not user.is_active:
        raise ChatError("inactive", "This account is not active.")
    _membership(by, room)
    return _enter(room, user)


def leave_room(user: User, room: Room) -> None:
    """Raises ChatError not_member, direct_room, or last_owner when others would be left without an owner."""
    if room.kind == Room.Kind.DIRECT:
        raise ChatError("direct_room")
    with transaction.atomic():
        _lock([room.pk])
        membership = _membership(user, room)
        others = Membership.objects.filter(room=room).exclude(user=user)
        is_owner = membership.role == Membership.Role.OWNER
        if is_owner and others.exists() and not others.filter(role=Membership.Role.OWNER).exists():
            raise ChatError("last_owner")
        membership.delete()
        _tell(user.pk, frames.removed(room.pk), left=room.pk)


def make_owner(by: User, membership: Membership) -> None:
    """Let a member steer the room, too; a room may have several owners. Raises ChatError not_owner, direct_room."""
    _require_owner(by, membership.room)
    Membership.objects.filter(pk=membership.pk).update(role=Membership.Role.OWNER)


def open_direct_room(user: User, other: User) -> Room:
    """The room of these two people, made at the first call. Raises ChatError oneself, inactive."""
    if user.pk == other.pk:
        raise ChatError("oneself")
    if not other.is_active:
        raise ChatError("inactive", "This account is not active.")
    key = ":".join(map(str, sorted((user.pk, other.pk))))
    with transaction.atomic():
        room, _made = Room.objects.get_or_create(
            direct_key=key, defaults={"kind": Room.Kind.DIRECT, "created_by": user}
        )
        for person in (user, other):
            _enter(room, person)
    return room


def update_room(by: User, room: Room, name: str, topic: str) -> Room:
    """Rename a room or change its topic. Raises ChatError not_owner, direct_room, bad_name, name_taken."""
    _require_owner(by, room)
    try:
        with transaction.atomic():
            locked = _lock([room.pk])[room.pk]
            locked.name, locked.topic = _checked_name(name), topic.strip()[:250]
            room_settings.write(locked)
            directory.forget_after_commit()
    except IntegrityError as error:
        raise ChatError("name_taken") from error
    return locked


def archive_room(by: User, room: Room) -> Room:
    """Close a room for writing; it stays readable for its members. Raises ChatError not_owner, direct_room."""
    _require_owner(by, room)
    with transaction.atomic():
        locked = _lock([room.pk])[room.pk]
        locked.archived_at = locked.archived_at or timezone.now()
        room_settings.write(locked)
        directory.forget_after_commit()
    return locked


def mark_read(user_id: int, room_id: int, number: int) -> None:
    """The person has read the room up to this message. Raises ChatError no_room."""
    own = Membership.objects.filter(room=room_id, user=user_id, user__is_active=True)
    found = own.values_list("pk", "last_read_number", "room__last_number").first()
    if found is None:
        raise ChatError("no_room")
    membership_id, read, last = found
    if read < last and read < number:
        positions.advance(membership_id, min(number, last))


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not 0 < len(name) <= 80:
        raise ChatError("bad_name")
    return name


def _enter(room: Room, user: User) -> Membership:
    """Who comes in has nothing unread: what was said before is history."""

    def newest() -> int:
        return Room.objects.values_list("last_number", flat=True).get(pk=room.pk)

    begins: dict[str, Any] = {"last_read_number": newest}  # called where a membership is made
    membership, made = Membership.objects.get_or_create(room=room, user=user, defaults=begins)
    if made:
        _tell(user.pk, frames.added(room.pk))
    return membership


def _membership(user: User, room: Room) -> Membership:
    membership = Membership.objects.filter(room=room, user=user).first()
    if membership is None:
        raise ChatError("not_member")
    return membership


def _require_owner(user: User, room: Room) -> None:
    if room.kind == Room.Kind.DIRECT:
        raise ChatError("direct_room")
    if not user.is_superuser and _membership(user, room).role != Membership.Role.OWNER:
        raise ChatError("not_owner")


def _lock(room_ids: Iterable[int]) -> dict[int, Room]:
    """The rooms, locked in id order so that two transactions can't wait for each other (SQLite locks them all)."""
    rows = Room.objects.select_for_update().filter(pk__in=set(room_ids)).order_by("pk")
    return {room.pk: room for room in rows}


def _tell(user_id: int, frame: str, left: int = 0) -> None:
    transaction.on_commit(partial(publisher.publish_person, user_id, frame, left))


# --- Messages ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewMessage:
    """What somebody wants to say. `imported` ones come from a log: their authors need not be members or active."""

    room_id: int
    author_id: int
    client_id: str
    text: str
    kind: str = Message.Kind.TEXT
    format: str = Message.Format.MARKDOWN
    created_at: datetime | None = None
    imported: bool = False


@dataclass(frozen=True, slots=True)
class Posted:
    """Where a message stands in its room. `again` when it was already there: the same sender and client id."""

    room_id: int
    number: int
    version: int
    again: bool = False


Outcome = Posted | ChatError


def post_message(message: NewMessage) -> Posted:
    """Post one message. Raises ChatError."""
    outcome = post_messages([message])[0]
    if isinstance(outcome, ChatError):
        raise outcome
    return outcome


def post_messages(batch: Sequence[NewMessage]) -> list[Outcome]:
    """Post messages of any rooms in one transaction; one outcome a message, in order.

    A refused message fails alone. Raises IntegrityError when another process stored one of them at this moment: then
    nothing of the batch is stored.
    """
    rendered = [_rendered(message) for message in batch]
    with transaction.atomic():
        desk = _Desk.open(batch)
        outcomes = [
            html if isinstance(html, ChatError) else desk.take(message, html)
            for message, html in zip(batch, rendered, strict=True)
        ]
        desk.store()
    return outcomes


def _rendered(message: NewMessage) -> str | ChatError:
    """The HTML, made before any lock is taken; what one message does to the parser must not fail its batch."""
    text = message.text.replace("\0", "")  # PostgreSQL stores no NUL, and no browser shows one
    if not text.strip():
        return ChatError("empty")
    if len(message.text) > settings.MESSAGE_MAX_LENGTH:
        most = settings.MESSAGE_MAX_LENGTH
        return ChatError("too_long", f"A message may have {most:,} characters; this one has {len(message.text):,}.")
    try:
        return render(text, message.format)
    except Exception:  # a fault of a parser is met with the sender's message alone
        logger.exception("A message of user %s could not be rendered", message.author_id)
        return ChatError("unrenderable")


@dataclass(slots=True)
class _Desk:
    """One transaction's view of what it needs to decide about a batch, and what it will store."""

    rooms: dict[int, Room]
    members: dict[tuple[int, int], int]  # (room, person) → membership
    people: dict[int, User]
    known: dict[tuple[int, str], Posted]
    rows: dict[int, list[Message]] = field(default_factory=dict)

    @classmethod
    def open(cls, batch: Sequence[NewMessage]) -> "_Desk":
        room_ids = {message.room_id for message in batch}
        author_ids = {message.author_id for message in batch}
        rooms = _lock(room_ids)  # before anything is read: what follows is true until the commit
        # In the order of `positions`, which writes these rows too: neither can wait for the other for ever.
        members = Membership.objects.select_for_update().filter(room__in=room_ids, user__in=author_ids).order_by("pk")
        resent = Message.objects.filter(author__in=author_ids, client_id__in=[message.client_id for message in batch])
        return cls(
            rooms=rooms,
            members={
                (room_id, user_id): pk for pk, room_id, user_id in members.values_list("pk", "room_id", "user_id")
            },
            people=User.objects.in_bulk(author_ids),
            known={
                (row["author_id"], row["client_id"]): Posted(row["room_id"], row["number"], row["version"], again=True)
                for row in resent.values("author_id", "client_id", "room_id", "number", "version")
            },
        )

    def take(self, message: NewMessage, html: str) -> Outcome:
        known = self.known.get((message.author_id, message.client_id))
        if known is not None:
            return known
        refusal = self._refusal(message)
        if refusal is not None:
            return ChatError(refusal)
        return self._number(message, html)

    def _refusal(self, message: NewMessage) -> str | None:
        room = self.rooms.get(message.room_id)
        author = self.people.get(message.author_id)
        if room is None or author is None:
            return "no_room"
        if room.is_archived:
            return "archived"
        if message.imported:
            return None
        if not author.is_active:
            return "inactive"
        return None if (room.pk, author.pk) in self.members else "not_member"

    def _number(self, message: NewMessage, html: str) -> Posted:
        room = self.rooms[message.room_id]
        room.last_number += 1
        room.last_version += 1
        row = Message(
            room_id=room.pk,
            number=room.last_number,
            version=room.last_version,
            author_id=message.author_id,
            client_id=message.client_id,
            kind=message.kind,
            format=message.format,
            text=message.text.replace("\0", ""),
            html=html,
            created_at=message.created_at or timezone.now(),
        )
        self.rows.setdefault(room.pk, []).append(row)
        place = Posted(room.pk, row.number, row.version)
        self.known[message.author_id, message.client_id] = Posted(room.pk, row.number, row.version, again=True)
        return place

    def store(self) -> None:
        Message.objects.bulk_create(row for rows in self.rows.values() for row in rows)
        for room_id, rows in self.rows.items():
            room = self.rooms[room_id]
            Room.objects.filter(pk=room_id).update(last_number=room.last_number, last_version=room.last_version)
            _announce(room_id, rows, self.people)
        self._move_positions()

    def _move_positions(self) -> None:
        """Who writes has read what is above; one statement for the whole batch."""
        written = {(row.room_id, row.author_id): row.number for rows in self.rows.values() for row in rows}
        moved = {self.members[place]: number for place, number in written.items() if place in self.members}
        if moved:
            cases = [When(pk=pk, then=Value(number)) for pk, number in moved.items()]
            Membership.objects.filter(pk__in=moved).update(last_read_number=Case(*cases))


def _announce(room_id: int, rows: list[Message], people: dict[int, User]) -> None:
    """Publish rows of consecutive versions once the transaction has committed."""
    authors: dict[int, dict[str, Any]] = {row.author_id: {} for row in rows}
    for author_id in authors:
        authors[author_id] = frames.author(people[author_id])
    ready = [frames.new(frames.message(row, authors[row.author_id])) for row in rows]
    transaction.on_commit(partial(publisher.publish_room, room_id, ready, rows[0].version))


def delete_message(by: User, message: Message) -> Message:
    """Take a message's text away and leave its tombstone. Its author, an owner or a superuser may; twice is once.

    Raises ChatError not_owner, not_member.
    """
    if not (by.is_superuser or by.pk == message.author_id):
        _require_owner(by, message.room)
    with transaction.atomic():
        room = _lock([message.room_id])[message.room_id]
        row = Message.objects.select_related("author").get(pk=message.pk)
        if row.is_deleted:
            return row
        room.last_version += 1
        row.text = row.html = ""
        row.deleted_at, row.version = timezone.now(), room.last_version
        row.save(update_fields=["text", "html", "deleted_at", "version"])
        room.save(update_fields=["last_version"])
        _announce(room.pk, [row], {row.author_id: row.author})
    return row
