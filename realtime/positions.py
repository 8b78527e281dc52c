"""How far each person has read in each of their rooms: written behind, and read with what waits to be written.

A position is (epoch, number), and the greater one wins: within an epoch it only goes up, and marking something unread
begins a new epoch, in the database. It is kept by membership, so that who leaves a room and comes back begins anew.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from django.db.models import Q

from intellicolab.cache.behind import Entry, LatestBuffer

from .models import Membership

# In the buffer a position is one whole number, which the buffer's script compares. Lua counts exactly up to 2^53:
# enough for 68 thousand million messages in a room and 131 thousand epochs of a membership.
_NUMBER_BITS = 36


class Position(NamedTuple):
    """Up to which message somebody has read, since they last marked something unread."""

    epoch: int
    number: int

    def pack(self) -> int:
        return self.epoch << _NUMBER_BITS | self.number

    @classmethod
    def unpack(cls, packed: int) -> "Position":
        return cls(packed >> _NUMBER_BITS, packed & (1 << _NUMBER_BITS) - 1)


NOWHERE = Position(0, 0)


def _write(entries: Sequence[Entry[int, int]]) -> None:
    """Raise the rows that are lower; they are locked, so nothing comes between the look and the write."""
    read = {entry.key: Position.unpack(entry.value) for entry in entries}
    # Locked in this order as in the group committer, which moves positions too: neither waits for the other for ever.
    rows = Membership.objects.filter(pk__in=read).order_by("pk").select_for_update(no_key=True)
    behind = [row for row in rows.only("read_epoch", "last_read_number") if stored(row) < read[row.pk]]
    for row in behind:
        row.read_epoch, row.last_read_number = read[row.pk]
    Membership.objects.bulk_update(behind, ["read_epoch", "last_read_number"])


_buffer: LatestBuffer[int, int] = LatestBuffer("read-position", write=_write, type=int, merge="max")


def stored(membership: Membership) -> Position:
    """The position in a row."""
    return Position(membership.read_epoch, membership.last_read_number)


def advance(membership_id: int, position: Position) -> None:
    """The person has read up to here. Raises DatabaseError without Redis and database."""
    _buffer.set(membership_id, position.pack())


def waiting(user_id: int, which: Q) -> dict[int, Position]:
    """The positions by membership that are not in the database yet. Ask for these first and for the rows afterwards:
    the other way round, what is written in between would be seen in neither."""
    found = _buffer.get_many(Membership.objects.filter(which, user=user_id).values_list("pk", flat=True))
    return {membership: Position.unpack(packed) for membership, packed in found.items()}


async def awaiting(memberships: Iterable[int]) -> dict[int, Position]:
    """As `waiting`, of memberships that are known."""
    found = await _buffer.aget_many(memberships)
    return {membership: Position.unpack(packed) for membership, packed in found.items()}
