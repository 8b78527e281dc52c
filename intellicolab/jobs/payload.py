"""What a job is, from the moment it is enqueued on: it never changes, and lies in Redis and in the outbox as JSON."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django_tasks.utils import normalize_json

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
PLAIN = {str, int, bool, type(None)}  # and no float, which may be no number


# A job, and its result, as JSON. The relay reads 500 rows at once, which must neither fill its memory nor keep others.
MOST_BYTES = 256 * 1024


class UnreadableJob(ValueError):
    """The bytes are not a job's."""


class Payload(msgspec.Struct, array_like=True, frozen=True):
    """Times are µs since 1970. `unique` is the digest under which there may be one such job, or empty."""

    path: str
    queue: str
    priority: int
    args: list[Any]
    kwargs: dict[str, Any]
    enqueued: int
    run_after: int | None = None
    unique: str = ""
    batch: "Place | None" = None  # of the last job of its batch
    left: int = -1  # of a batch's last job: how many must end before it


class Place(msgspec.Struct, array_like=True, frozen=True):
    """Where a job is to be found."""

    id: str
    queue: str
    priority: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Payload)
_strict = json.JSONEncoder(allow_nan=False)  # where msgspec would write null


def not_too_long(data: bytes, what: str) -> bytes:
    """Raises ValueError."""
    if len(data) > MOST_BYTES:
        raise ValueError(
            f"{what} takes {len(data):,} bytes as JSON, and may take {MOST_BYTES:,}: keep what is long in the database "
            "or in a file, and pass its id."
        )
    return data


def encode(payload: Payload) -> bytes:
    return _encoder.encode(payload)


def decode(data: bytes | str) -> Payload:
    """Raises UnreadableJob."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableJob(f"This is not a job: {error}") from error


def normal(value: Any) -> Any:
    """As JSON would give it back. Raises TypeError or ValueError for what JSON cannot hold, such as NaN.

    Most arguments are a few numbers and texts, of which Django's function would ask each what it is, several times.
    """
    if type(value) in PLAIN:
        return value
    if type(value) in (list, tuple) and PLAIN.issuperset(map(type, value)):
        return list(value)
    if type(value) is dict and PLAIN.issuperset(map(type, value.values())) and {str}.issuperset(map(type, value)):
        return value.copy()
    made = normalize_json(value)
    _strict.encode(made)
    return made


def to_us(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


def from_us(number: int | bytes | None) -> datetime | None:
    return None if number is None else EPOCH + int(number) * MICROSECOND
