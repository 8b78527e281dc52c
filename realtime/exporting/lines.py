"""Messages as JSON lines, for programs."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from .reading import Said

_encoder = msgspec.json.Encoder()


def line(said: Said) -> bytes:
    """One message; docs/realtime.md names the fields."""
    record: dict[str, Any] = {
        "number": said.number,
        "author": {"id": said.author_id, "name": said.author},
        "time": iso(said.created_at),
        "kind": said.kind,
    }
    if said.deleted_at is not None:
        record["deleted"] = iso(said.deleted_at)
    else:
        record |= {"format": said.format, "text": said.text}
        if said.edited_at is not None:
            record["edited"] = iso(said.edited_at)
    return _encoder.encode(record) + b"\n"


def iso(moment: datetime) -> str:
    """UTC to the millisecond (RFC 3339)."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
