"""What a job is, from the moment it is enqueued on: it never changes, and lies in Redis and in the outbox as JSON."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


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


def encode(payload: Payload) -> bytes:
    return _encoder.encode(payload)


def decode(data: bytes | str) -> Payload:
    """Raises UnreadableJob."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableJob(f"This is not a job: {error}") from error


def to_us(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


def from_us(number: int | bytes | None) -> datetime | None:
    return None if number is None else EPOCH + int(number) * MICROSECOND
