"""How far each person has read in each of their rooms: written behind, and read with what waits to be written.

A position only goes up. It is kept by membership, so that who leaves a room and comes back begins anew.
"""

from collections.abc import Sequence

from django.db.models import Q

from intellicolab.cache.behind import Entry, LatestBuffer, Row, update_greatest

from .models import Membership


def _write(entries: Sequence[Entry[int, int]]) -> None:
    # Locked in this order as in the group committer, which moves positions too: neither waits for the other for ever.
    rows = Membership.objects.filter(pk__in=[entry.key for entry in entries]).order_by("pk")
    list(rows.select_for_update().values_list("pk"))
    changes = [Row({"pk": entry.key}, {"last_read_number": entry.value}, entry.stamp) for entry in entries]
    update_greatest(Membership.objects.all(), changes)


_buffer: LatestBuffer[int, int] = LatestBuffer("read-position", write=_write, type=int, merge="max")


def advance(membership_id: int, number: int) -> None:
    """The person has read up to this message. Raises DatabaseError without Redis and database."""
    _buffer.set(membership_id, number)


def waiting(user_id: int, which: Q) -> dict[int, int]:
    """The positions by membership that are not in the database yet. Ask for these first and for the rows afterwards:
    the other way round, what is written in between would be seen in neither."""
    return _buffer.get_many(Membership.objects.filter(which, user=user_id).values_list("pk", flat=True))
