"""Rooms: made, renamed, archived."""

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import User
from accounts.names import clean_name
from intellicolab.events.outbox import emit
from realtime import directory, frames, room_settings
from realtime.errors import ChatError
from realtime.events import MemberJoined, RoomArchived, RoomCreated
from realtime.models import Membership, Room

from .changing import locked, next_version, publish, require_owner, tell
from .members import enter

FIRST_ROOM_NAME = "General"


def create_room(user: User | None, name: str, kind: str = Room.Kind.OPEN, topic: str = "") -> Room:
    """A room that `user` owns; an import may make one without an owner. Raises ChatError bad_name, name_taken."""
    try:
        with transaction.atomic():
            room = Room.objects.create(
                name=checked_name(name), kind=kind, topic=topic.strip()[:250], created_by=user, people=1 if user else 0
            )
            room_settings.write(room)
            directory.forget_after_commit()
            emit(RoomCreated(room_id=room.pk, kind=kind, by_id=user.pk if user else None))
            if user is not None:
                Membership.objects.create(room=room, user=user, role=Membership.Role.OWNER)
                tell(user.pk, frames.added(room.pk))
                emit(MemberJoined(room_id=room.pk, user_id=user.pk))
    except IntegrityError as error:
        raise ChatError("name_taken") from error
    return room


def open_direct_room(user: User, other: User) -> Room:
    """The room of these two people, made at the first call. Raises ChatError oneself, inactive."""
    if user.pk == other.pk:
        raise ChatError("oneself")
    if not other.is_active:
        raise ChatError("inactive", "This account is not active.")
    key = ":".join(map(str, sorted((user.pk, other.pk))))
    with transaction.atomic():
        room, made = Room.objects.get_or_create(direct_key=key, defaults={"kind": Room.Kind.DIRECT, "created_by": user})
        if made:
            emit(RoomCreated(room_id=room.pk, kind=room.kind, by_id=user.pk))
        for person in (user, other):
            enter(room.pk, person, by=user)
    return room


def update_room(by: User, room: Room, name: str, topic: str) -> Room:
    """Rename a room or change its topic. Raises ChatError not_owner, direct_room, bad_name, name_taken."""
    try:
        with transaction.atomic():
            changed = locked(room.pk)
            require_owner(by, changed)
            changed.name, changed.topic = checked_name(name), topic.strip()[:250]
            _store(changed)
    except IntegrityError as error:
        raise ChatError("name_taken") from error
    return changed


def archive_room(by: User, room: Room) -> Room:
    """Close a room for writing; it stays readable for its members. Raises ChatError not_owner, direct_room."""
    with transaction.atomic():
        changed = locked(room.pk)
        require_owner(by, changed)
        if not changed.is_archived:
            changed.archived_at = timezone.now()
            _store(changed)
            emit(RoomArchived(room_id=changed.pk, by_id=by.pk))
    return changed


def _store(room: Room) -> None:
    room.settings_version = next_version(room)
    room.save(update_fields=["last_version", "settings_version"])
    room_settings.write(room)
    directory.forget_after_commit()
    publish(room.pk, frames.settings(room))


def checked_name(name: str) -> str:
    """As it is stored. Hidden characters would make two rooms look alike, or one be nothing to click on.

    Raises ChatError bad_name.
    """
    try:
        cleaned = clean_name(name)
    except ValidationError as error:
        raise ChatError("bad_name") from error
    if len(cleaned) > 80:
        raise ChatError("bad_name")
    return cleaned
