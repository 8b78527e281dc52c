"""Facts on their way: rows beside the change itself, so that neither is ever there without the other.

`transaction.on_commit` with a command to Redis would lose the fact when the process dies in between.
"""

from collections.abc import Iterable
from typing import Any

from django.db import connection, transaction

from .models import OutboxRow
from .schema import Event, encode
from .waking import waker

# By hand: `bulk_create` takes three times as long, and each message that is posted waits for it.
_INSERT = (
    f'INSERT INTO "{OutboxRow._meta.db_table}" ("stream", "name", "version", "data", "made_at", "group") '  # noqa: S608
    "VALUES (%s, %s, %s, %s, %s, '')"
)


def emit(event: Event) -> None:
    """Make it a fact, together with what the caller's transaction changes. Outside one it is a fact at once."""
    emit_all([event])


def emit_all(events: Iterable[Event]) -> None:
    """As `emit`, several in one statement; those of a stream keep their order. Raises ValueError for a mere signal."""
    rows = [_values(event) for event in events]
    if rows:
        with transaction.atomic(savepoint=False), connection.cursor() as cursor:
            cursor.executemany(_INSERT, rows)
        transaction.on_commit(waker.wake)


def _values(event: Event) -> tuple[Any, ...]:
    if not event.stream:
        raise ValueError(f"{event.name!r} has no stream: it is for `signal`.")
    made_at = connection.ops.adapt_datetimefield_value(event.at)
    return event.stream, event.name, event.version, encode(event), made_at
