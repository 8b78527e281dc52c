"""What is said in rooms: posted, edited, deleted."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Case, Value, When
from django.utils import timezone

from accounts.models import User
from intellicolab.events.outbox import emit, emit_all
from intellicolab.events.schema import Event
from realtime import frames, mentions
from realtime.errors import ChatError
from realtime.events import MessageCreated, MessageDeleted, MessageEdited
from realtime.markdown import render
from realtime.mentions import Named
from realtime.models import Membership, Message, Room

from .changing import lock, locked, next_version, publish, require_owner

logger = logging.getLogger("realtime")


@dataclass(frozen=True, slots=True)
class NewMessage:
    """What somebody wants to say.

    `imported` ones come from a log: their authors need not be members or active, and they are no news, so no fact
    tells of them.
    """

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
    named = mentions.named_in(message.text for message in batch)
    rendered = [_rendered(message, named) for message in batch]
    with transaction.atomic():
        desk = _Desk.open(batch)
        outcomes = [
            html if isinstance(html, ChatError) else desk.take(message, html)
            for message, html in zip(batch, rendered, strict=True)
        ]
        desk.store()
    return outcomes


def _rendered(message: NewMessage, named: Named) -> str | ChatError:
    """The HTML, made before any lock is taken; what one message does to the parser must not fail its batch."""
    try:
        return _html(message.text, message.format, named)
    except ChatError as error:
        return error


def _html(text: str, text_format: str, named: Named) -> str:
    """Raises ChatError empty, too_long, unrenderable."""
    kept = _storable(text)
    if not kept.strip():
        raise ChatError("empty")
    if len(text) > settings.MESSAGE_MAX_LENGTH:
        most = settings.MESSAGE_MAX_LENGTH
        raise ChatError("too_long", f"A message may have {most:,} characters; this one has {len(text):,}.")
    try:
        return render(kept, text_format, named)
    except Exception as error:  # a fault of a parser is met with the sender's message alone
        logger.exception("A message could not be rendered")
        raise ChatError("unrenderable") from error


def _storable(text: str) -> str:
    return text.replace("\0", "")  # PostgreSQL stores no NUL, and no browser shows one


@dataclass(slots=True)
class _Desk:
    """One transaction's view of what it needs to decide about a batch, and what it will store."""

    rooms: dict[int, Room]
    members: dict[tuple[int, int], int]  # (room, person) → membership
    people: dict[int, User]
    known: dict[tuple[int, str], Posted]
    rows: dict[int, list[Message]] = field(default_factory=dict)
    facts: list[Event] = field(default_factory=list)

    @classmethod
    def open(cls, batch: Sequence[NewMessage]) -> "_Desk":
        room_ids = {message.room_id for message in batch}
        author_ids = {message.author_id for message in batch}
        rooms = lock(room_ids)  # before anything is read: what follows is true until the commit
        # In the order of `positions`, which writes these rows too: neither can wait for the other for ever.
        rows = Membership.objects.filter(room__in=room_ids, user__in=author_ids).order_by("pk")
        # Without the key: a transaction that notes mentions refers to these rows, in whatever order.
        members = rows.select_for_update(no_key=True)
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
        row = Message(
            room_id=room.pk,
            number=room.last_number,
            version=next_version(room),
            author_id=message.author_id,
            client_id=message.client_id,
            kind=message.kind,
            format=message.format,
            text=_storable(message.text),
            html=html,
            created_at=message.created_at or timezone.now(),
        )
        self.rows.setdefault(room.pk, []).append(row)
        if not message.imported:
            self.facts.append(_created(row))
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
        emit_all(self.facts)

    def _move_positions(self) -> None:
        """Who writes has read what is above; one statement for the whole batch."""
        written = {(row.room_id, row.author_id): row.number for rows in self.rows.values() for row in rows}
        moved = {self.members[place]: number for place, number in written.items() if place in self.members}
        if moved:
            cases = [When(pk=pk, then=Value(number)) for pk, number in moved.items()]
            Membership.objects.filter(pk__in=moved).update(last_read_number=Case(*cases))


def _created(row: Message) -> MessageCreated:
    names = mentions.names_others(row.html, row.author_id)
    return MessageCreated(
        room_id=row.room_id, number=row.number, author_id=row.author_id, names=names, at=row.created_at
    )


def _announce(room_id: int, rows: list[Message], people: Mapping[int, User]) -> None:
    """Publish rows of consecutive versions once the transaction has committed."""
    authors: dict[int, dict[str, Any]] = {row.author_id: {} for row in rows}
    for author_id in authors:
        authors[author_id] = frames.author(people[author_id])
    publish(room_id, *(frames.said(frames.message(row, authors[row.author_id])) for row in rows))


def edit_message(by: User, message: Message, text: str) -> Message:
    """Give a message another text. Only its author may, as a member of the room; the same text again changes nothing.

    Raises ChatError not_author, not_member, archived, inactive, deleted, empty, too_long, unrenderable.
    """
    html = _html(text, message.format, mentions.named_in([text]))
    with transaction.atomic():
        room, row = _locked_with(message)
        _require_author(by, room, row)
        if row.is_deleted:
            raise ChatError("deleted")  # an edit never brings back what was deleted
        if row.text != _storable(text):
            names = mentions.names_others(row.html + html, row.author_id)
            row.text, row.html, row.edited_at = _storable(text), html, timezone.now()
            _store(room, row, "text", "html", "edited_at")
            emit(MessageEdited(room_id=room.pk, number=row.number, by_id=by.pk, names=names))
    return row


def _require_author(by: User, room: Room, message: Message) -> None:
    if message.author_id != by.pk:
        raise ChatError("not_author")
    if not by.is_active:
        raise ChatError("inactive")
    if room.is_archived:
        raise ChatError("archived")
    if not Membership.objects.filter(room=room, user=by).exists():
        raise ChatError("not_member")


def delete_message(by: User, message: Message) -> Message:
    """Take a message's text away and leave its tombstone. Its author, an owner or a superuser may; twice is once.

    Raises ChatError not_owner, not_member.
    """
    with transaction.atomic():
        room, row = _locked_with(message)
        if not (by.is_superuser or by.pk == row.author_id):
            require_owner(by, room)
        if not row.is_deleted:
            names = mentions.names_others(row.html, row.author_id)
            row.text = row.html = ""
            row.deleted_at = timezone.now()
            _store(room, row, "text", "html", "deleted_at")
            emit(_deleted(row, by, names))
    return row


def _deleted(row: Message, by: User, names: bool) -> MessageDeleted:
    return MessageDeleted(room_id=row.room_id, number=row.number, author_id=row.author_id, by_id=by.pk, names=names)


def _locked_with(message: Message) -> tuple[Room, Message]:
    """The room, locked, and the message as it is now."""
    room = locked(message.room_id)
    return room, Message.objects.select_related("author").get(pk=message.pk)


def _store(room: Room, row: Message, *changed: str) -> None:
    row.version = next_version(room)
    row.save(update_fields=["version", *changed])
    room.save(update_fields=["last_version"])
    publish(room.pk, frames.said(frames.message(row, frames.author(row.author))))
