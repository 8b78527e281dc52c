"""Who is in a room: people come, are added, leave, are removed, and become owners."""

from collections.abc import Callable
from functools import partial

from django.db import transaction

from accounts.models import User
from intellicolab.events.outbox import emit
from realtime import frames
from realtime.errors import ChatError
from realtime.events import MemberJoined, MemberLeft
from realtime.models import Departure, Membership, Room

from .changing import locked, membership_of, next_version, publish, require_owner, tell


def join_room(user: User, room: Room) -> Membership:
    """Enter an open room; joining twice is joining once. Raises ChatError not_open, archived."""
    _require_open(room)
    return enter(room.pk, user, _require_open)


def _require_open(room: Room) -> None:
    if room.kind != Room.Kind.OPEN:
        raise ChatError("not_open")
    if room.is_archived:
        raise ChatError("archived")


def join_first_room(user: User) -> None:
    """Let a new person into the oldest open room, where the others are."""
    room = Room.objects.directory().order_by("id").first()
    if room is not None:
        enter(room.pk, user)


def add_member(by: User, room: Room, user: User) -> Membership:
    """Let another person in. Raises ChatError not_member, archived, inactive, direct_room."""
    if not user.is_active:
        raise ChatError("inactive", "This account is not active.")
    require = partial(_require_that_lets_in, by)
    require(room)
    return enter(room.pk, user, require, by)


def _require_that_lets_in(by: User, room: Room) -> None:
    if room.kind == Room.Kind.DIRECT:
        raise ChatError("direct_room")
    if room.is_archived:
        raise ChatError("archived")
    membership_of(by, room)


def leave_room(user: User, room: Room) -> None:
    """Raises ChatError not_member, direct_room, or last_owner when others would be left without an owner."""
    with transaction.atomic():
        _put_out(user, locked(room.pk), by=user)


def _put_out(user: User, room: Room, by: User) -> None:
    """Of a room that the caller has locked.

    The membership is locked, too: the group that notes mentions has no lock of the room, and what it adds between the
    two deletions would make the second one fail.
    """
    if room.kind == Room.Kind.DIRECT:
        raise ChatError("direct_room")
    membership = membership_of(user, room, for_update=True)
    _keep_an_owner(membership)
    membership.delete()
    _record_departure(room, user)
    emit(MemberLeft(room_id=room.pk, user_id=user.pk, by_id=_another(by, user)))


def remove_member(by: User, membership: Membership) -> None:
    """Put somebody out of a room. Raises ChatError as `leave_room`, and not_owner."""
    with transaction.atomic():
        room = locked(membership.room_id)
        require_owner(by, room)
        _put_out(membership.user, room, by)


def make_owner(by: User, membership: Membership) -> None:
    """Let a member steer the room, too; a room may have several owners. Raises ChatError not_owner, direct_room."""
    with transaction.atomic():
        room = locked(membership.room_id)
        require_owner(by, room)
        current = membership_of(membership.user, room)
        if current.role != Membership.Role.OWNER:
            current.role = Membership.Role.OWNER
            current.version = advance(room)
            current.save(update_fields=["role", "version"])
            publish(room.pk, frames.member(current, room.people))


def enter(
    room_id: int, user: User, require: Callable[[Room], None] | None = None, by: User | None = None
) -> Membership:
    """Who comes in has nothing unread: what was said before is history. `by` is who lets them in.

    `require` is asked about the locked room: what it was a moment before may have changed.
    """
    found = Membership.objects.filter(room=room_id, user=user).first()
    if found is not None:
        return found  # nothing to lock the room for
    with transaction.atomic():
        room = locked(room_id)
        if require is not None:
            require(room)
        begins = {"last_read_number": room.last_number, "version": room.last_version + 1}
        membership, made = Membership.objects.get_or_create(room=room, user=user, defaults=begins)
        if made:
            advance(room)
            Departure.objects.filter(room=room, user=user).delete()
            publish(room.pk, frames.member(membership, room.people))
            tell(user.pk, frames.added(room.pk))
            emit(MemberJoined(room_id=room.pk, user_id=user.pk, by_id=_another(by, user)))
    return membership


def _another(by: User | None, user: User) -> int | None:
    """Who did it, where that was not the person themselves."""
    return by.pk if by is not None and by.pk != user.pk else None


def _keep_an_owner(leaving: Membership) -> None:
    others = Membership.objects.filter(room=leaving.room_id).exclude(pk=leaving.pk)
    is_owner = leaving.role == Membership.Role.OWNER
    if is_owner and others.exists() and not others.filter(role=Membership.Role.OWNER).exists():
        raise ChatError("last_owner")


def _record_departure(room: Room, user: User) -> None:
    departure, _again = Departure.objects.update_or_create(room=room, user=user, defaults={"version": advance(room)})
    publish(room.pk, frames.departed(departure, room.people))
    tell(user.pk, frames.removed(room.pk), left=room.pk)


def advance(room: Room) -> int:
    """A version for a change of who is in the room, which the caller has locked and made."""
    room.members_version = next_version(room)
    room.people = Membership.objects.filter(room=room).count()
    room.save(update_fields=["last_version", "members_version", "people"])
    return room.members_version
