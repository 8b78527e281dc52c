"""Batches as few queries: what `write` of a declaration does for rows of a model."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

import msgspec
from django.db.models import Case, F, Field, Q, QuerySet, Value, When

CHUNK = 100  # rows an UPDATE: its CASE is searched for each row


class Row(msgspec.Struct, frozen=True):
    """New values of one row, which `lookup` finds (`{"pk": 7}`, `{"user_id": 7, "room_id": 3}`)."""

    lookup: Mapping[str, Any]
    values: Mapping[str, Any]
    stamp: int


def update_latest(rows: QuerySet, changes: Sequence[Row], *, stamp: str = "stamp") -> int:
    """Write each change whose stamp is higher than the row's, one UPDATE a hundred rows; how many rows it was.

    All changes name the same fields. Rows that are gone are passed over.
    """
    return sum(_update_later(rows, chunk, stamp) for chunk in _chunks(changes))


def update_greatest(rows: QuerySet, changes: Sequence[Row]) -> int:
    """Raise one field of each row, never lower it: the number itself says what is newer, and no stamp is needed.

    All changes name the same one field, which may not be null. Returns how many rows it was.
    """
    return sum(_update_greater(rows, chunk) for chunk in _chunks(changes))


def add_sums(rows: QuerySet, field: str, amounts: Mapping[Any, int]) -> int:
    """Add each amount to the field of the row with that primary key, one UPDATE a hundred rows."""
    changed, items = 0, list(amounts.items())
    column = _field(rows, field)
    for start in range(0, len(items), CHUNK):
        part = items[start : start + CHUNK]
        cases = [When(pk=key, then=Value(amount, output_field=column)) for key, amount in part]
        chosen = rows.filter(pk__in=[key for key, _ in part])
        changed += chosen.update(**{field: F(field) + Case(*cases, output_field=column)})
    return changed


def _chunks(changes: Sequence[Row]) -> Iterator[Sequence[Row]]:
    return (changes[start : start + CHUNK] for start in range(0, len(changes), CHUNK))


def _update_later(rows: QuerySet, changes: Sequence[Row], stamp: str) -> int:
    stamps = _case(rows, stamp, [(change.lookup, change.stamp) for change in changes])
    new = {name: _new(rows, name, changes) for name in changes[0].values}
    return _chosen(rows, changes).filter(**{f"{stamp}__lt": stamps}).update(**{**new, stamp: stamps})


def _update_greater(rows: QuerySet, changes: Sequence[Row]) -> int:
    [name] = changes[0].values
    new = _new(rows, name, changes)
    return _chosen(rows, changes).filter(**{f"{name}__lt": new}).update(**{name: new})


def _new(rows: QuerySet, name: str, changes: Sequence[Row]) -> Case:
    return _case(rows, name, [(change.lookup, change.values[name]) for change in changes])


def _chosen(rows: QuerySet, changes: Sequence[Row]) -> QuerySet:
    if all(change.lookup.keys() == {"pk"} for change in changes):
        return rows.filter(pk__in=[change.lookup["pk"] for change in changes])
    return rows.filter(reduce(or_, (Q(**change.lookup) for change in changes)))


def _case(rows: QuerySet, name: str, values: Iterable[tuple[Mapping[str, Any], Any]]) -> Case:
    column = _field(rows, name)
    return Case(
        *(When(**lookup, then=Value(value, output_field=column)) for lookup, value in values), output_field=column
    )


def _field(rows: QuerySet, name: str) -> Field:
    return rows.model._meta.get_field(name)
