"""Which types can be handed to many callers at once."""

import types
import typing
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

_ATOMS = (str, bytes, int, float, bool, type(None), date, datetime, time, timedelta, Decimal, UUID)


def is_immutable(of: Any) -> bool:
    """Whether no value of the type can be changed: atoms, enums, frozen Structs, and tuples and unions of these."""
    origin, inside = typing.get_origin(of), typing.get_args(of)
    if origin in (typing.Union, types.UnionType):
        return all(map(is_immutable, inside))
    if origin in (tuple, frozenset):
        return all(is_immutable(part) for part in inside if part is not Ellipsis)
    if not isinstance(of, type):
        return False
    if issubclass(of, msgspec.Struct):
        return of.__struct_config__.frozen and all(is_immutable(field.type) for field in msgspec.structs.fields(of))
    return of in _ATOMS or issubclass(of, Enum)
