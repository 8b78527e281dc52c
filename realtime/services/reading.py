"""How far people have read. Each of their tabs and devices hears of it at once."""

from django.db import transaction

from realtime import frames, positions
from realtime.errors import ChatError
from realtime.models import Membership
from realtime.positions import Position
from realtime.publisher import publisher

from .changing import tell


def mark_read(user_id: int, room_id: int, number: int, epoch: int | None = None) -> None:
    """The person has read the room up to this message. Raises ChatError no_room.

    `epoch` is the one that the client knows of: a tab that has not heard yet that something was marked unread must not
    take that back. Without it, it is the current one.
    """
    membership, stored, last = _own(user_id, room_id)
    read = Position(stored.epoch if epoch is None else min(epoch, stored.epoch), min(number, last))
    if read > stored:
        positions.advance(membership, read)
        publisher.publish_person(user_id, frames.read(room_id, read))


def mark_unread(user_id: int, room_id: int, number: int) -> None:
    """The message of this number, and all above it, count as unread. Raises ChatError no_room.

    It begins a new epoch, in the database at once: positions of the old one that wait to be written, or are still on
    their way, are lower than any of the new.
    """
    with transaction.atomic():
        membership, stored, last = _own(user_id, room_id, for_update=True)
        begins = Position(stored.epoch + 1, max(0, min(number - 1, last)))
        Membership.objects.filter(pk=membership).update(read_epoch=begins.epoch, last_read_number=begins.number)
        tell(user_id, frames.read(room_id, begins))


def _own(user_id: int, room_id: int, for_update: bool = False) -> tuple[int, Position, int]:
    """(membership, its stored position, the room's last number)."""
    own = Membership.objects.filter(room=room_id, user=user_id, user__is_active=True)
    rows = own.select_for_update(of=("self",)) if for_update else own
    found = rows.values_list("pk", "read_epoch", "last_read_number", "room__last_number").first()
    if found is None:
        raise ChatError("no_room")
    membership, epoch, number, last = found
    return membership, Position(epoch, number), last
