"""What every change to a room has in common: its row locked first, a version for each change, and news of it after
the commit."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from django.db import transaction

from accounts.models import User
from realtime import frames
from realtime.errors import ChatError
from realtime.models import Membership, Room
from realtime.publisher import publisher


def lock(room_ids: Iterable[int]) -> dict[int, Room]:
    """The rooms, locked in id order so that two transactions can't wait for each other (SQLite locks them all)."""
    rows = Room.objects.select_for_update().filter(pk__in=set(room_ids)).order_by("pk")
    return {room.pk: room for room in rows}


def locked(room_id: int) -> Room:
    """One room, locked until the transaction ends. Raises ChatError no_room."""
    room = lock([room_id]).get(room_id)
    if room is None:
        raise ChatError("no_room")
    return room


def next_version(room: Room) -> int:
    """The version of the next change to a room that the caller has locked and will save."""
    room.last_version += 1
    return room.last_version


def publish(room_id: int, *changes: dict[str, Any]) -> None:
    """Tell everybody in the room of changes with consecutive versions."""
    ready = [frames.encode(change) for change in changes]
    transaction.on_commit(partial(publisher.publish_room, room_id, ready, changes[0]["version"]))


def tell(user_id: int, frame: str, left: int = 0) -> None:
    """Tell one person, on all their sockets; `left` is the room that these are to hear no more of."""
    transaction.on_commit(partial(publisher.publish_person, user_id, frame, left))


def membership_of(user: User, room: Room, for_update: bool = False) -> Membership:
    """Raises ChatError not_member."""
    rows = Membership.objects.select_for_update() if for_update else Membership.objects.all()
    membership = rows.filter(room=room, user=user).first()
    if membership is None:
        raise ChatError("not_member")
    return membership


def require_owner(user: User, room: Room) -> None:
    """Raises ChatError not_owner, not_member, direct_room. A superuser may do what owners may."""
    if room.kind == Room.Kind.DIRECT:
        raise ChatError("direct_room")
    if not user.is_superuser and membership_of(user, room).role != Membership.Role.OWNER:
        raise ChatError("not_owner")
