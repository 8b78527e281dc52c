"""The messages of a room in order, some hundred at a time: memory stays the same however many there are."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from realtime.models import Message

PAGE = 500  # messages a query; of the longest ones these are some 40 MB


class Said(NamedTuple):
    """A message as it is exported. Of a deleted one text and html are empty."""

    number: int
    author_id: int
    author: str
    kind: str
    format: str
    text: str
    html: str
    created_at: datetime
    edited_at: datetime | None
    deleted_at: datetime | None


COLUMNS = [name if name != "author" else "author__display_name" for name in Said._fields]


def pages(room_id: int, upto: int) -> Iterator[list[Said]]:
    """All messages up to that number. By number, never by OFFSET or a cursor that holds a transaction open."""
    after = 0
    while page := _page(room_id, after, upto):
        after = page[-1].number
        yield page


def _page(room_id: int, after: int, upto: int) -> list[Said]:
    rows = Message.objects.filter(room=room_id, number__gt=after, number__lte=upto).order_by("number")
    return [_without_what_is_deleted(Said(*row)) for row in rows.values_list(*COLUMNS)[:PAGE]]


def _without_what_is_deleted(said: Said) -> Said:
    return said if said.deleted_at is None else said._replace(text="", html="")
