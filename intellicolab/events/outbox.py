"""Facts on their way: rows beside the change itself, so that neither is ever there without the other.

`transaction.on_commit` with a command to Redis would lose the fact when the process dies in between.
"""

from collections.abc import Iterable

from django.db import transaction

from .models import OutboxRow
from .schema import Event, encode
from .waking import waker


def emit(event: Event) -> None:
    """Make it a fact, together with what the caller's transaction changes. Outside one it is a fact at once."""
    emit_all([event])


def emit_all(events: Iterable[Event]) -> None:
    """As `emit`, several in one statement; those of a stream keep their order. Raises ValueError for a mere signal."""
    rows = [row_of(event) for event in events]
    if rows:
        OutboxRow.objects.bulk_create(rows)
        transaction.on_commit(waker.wake)


def row_of(event: Event) -> OutboxRow:
    if not event.stream:
        raise ValueError(f"{event.name!r} has no stream: it is for `signal`.")
    return OutboxRow(stream=event.stream, name=event.name, version=event.version, data=encode(event), made_at=event.at)
