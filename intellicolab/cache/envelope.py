"""What surrounds a cached value in Redis: when it stops being fresh, how long it took to load, its tags' stamps.

The header is written by `store.lua`, so that all times are the Redis server's: a version, the number of tags, the end
of freshness (Unix time, seconds), and the load time (seconds). Then come eight bytes a tag, and then the value itself.
"""

import struct
from typing import NamedTuple

VERSION = 1
_HEADER = struct.Struct(">BBdf")
_unpack = _HEADER.unpack_from
SIZE = _HEADER.size
_STAMP = struct.Struct(">q")
PLAIN = bytes([VERSION, 0])  # how an envelope without tags begins


class Damaged(ValueError):
    """Not an envelope that this version of the application has written."""


class Envelope(NamedTuple):
    """An opened envelope; times are in seconds."""

    fresh_until: float
    load_time: float
    stamps: bytes
    payload: bytes


def opened(data: bytes) -> Envelope:
    """Raises Damaged for what is no envelope of this version."""
    if len(data) < SIZE or data[0] != VERSION:
        raise Damaged
    _version, tags, fresh_until, load_time = _unpack(data)
    if not tags:
        return Envelope(fresh_until, load_time, b"", data[SIZE:])
    start = SIZE + tags * _STAMP.size
    return Envelope(fresh_until, load_time, data[SIZE:start], data[start:])


def header(data: bytes) -> bytes:
    """What names this very store of a value: no two have the same end of freshness."""
    return data[:SIZE]


def packed(stamps: list[int]) -> bytes:
    """The stamps of a value's tags as they stand in its envelope."""
    return b"".join(map(_STAMP.pack, stamps))
