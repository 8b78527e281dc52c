"""Facts on their way: rows beside the change itself, so that neither is ever there without the other.

`transaction.on_commit` with a command to Redis would lose the fact when the process dies in between.
"""

from collections.abc import Iterable
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from .models import OutboxRow
from .schema import Event, encode
from .waking import waker

# By hand: `bulk_create` takes three times as long, and each message that is posted waits for it.
_INTO = f'INSERT INTO "{OutboxRow._meta.db_table}" ("stream", "name", "version", "data", "made_at", "group") VALUES'
_VALUES = "(%s, %s, %s, %s, %s, %s)"
_AT_ONCE = 1000  # rows in one statement


class NewRow(NamedTuple):
    """What is to be a row. With a `group` it is for that one only."""

    stream: str
    name: str
    version: int
    data: str
    made_at: datetime
    group: str = ""


class NumberedRow(NamedTuple):
    """A row with its place in the stream. The relay reads a great many, for which a model's instances are too slow."""

    position: int
    name: str
    version: int
    data: str
    made_at: datetime
    group: str = ""


def emit(event: Event) -> None:
    """Make it a fact, together with what the caller's transaction changes. Outside one it is a fact at once."""
    emit_all([event])


def emit_all(events: Iterable[Event]) -> None:
    """As `emit`, several in one statement; those of a stream keep their order. Raises ValueError for a mere signal."""
    insert(map(_row, events))


def insert(rows: Iterable[NewRow]) -> None:
    """The one way into the outbox, for facts and for what other carriers bring."""
    values = [(*row[:4], connection.ops.adapt_datetimefield_value(row.made_at), row.group) for row in rows]
    if values:
        with transaction.atomic(savepoint=False), connection.cursor() as cursor:
            if connection.vendor == "postgresql":  # which would parse and plan a statement for each of them
                for start in range(0, len(values), _AT_ONCE):
                    _insert_together(cursor, values[start : start + _AT_ONCE])
            else:
                cursor.executemany(f"{_INTO} {_VALUES}", values)
        transaction.on_commit(waker.wake)


def _insert_together(cursor: CursorWrapper, values: list[tuple[Any, ...]]) -> None:
    cursor.execute(f"{_INTO} {', '.join([_VALUES] * len(values))}", [*chain.from_iterable(values)])


def _row(event: Event) -> NewRow:
    if not event.stream:
        raise ValueError(f"{event.name!r} has no stream: it is for `signal`.")
    return NewRow(event.stream, event.name, event.version, encode(event), event.at)
