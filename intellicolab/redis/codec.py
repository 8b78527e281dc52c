"""How values lie in Redis: JSON, never pickle, so that who can write Redis cannot run code in the application."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from django_redis.serializers.base import BaseSerializer

V = TypeVar("V")

_encoder = msgspec.json.Encoder()


class CodecError(ValueError):
    """What came from Redis is not what was stored."""


# What decoding raises. msgspec's own error is let through: turning it into ours would cost each value of a batch. It
# raises Python's own for text that is no UTF-8 and for values nested too deep.
UNREADABLE = (CodecError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def storable(text: str) -> str:
    """Without halves of surrogate pairs, which are no text to JSON, and NUL, which is none to PostgreSQL: what others'
    code says of its errors may have either."""
    return text.encode(errors="replace").decode().replace("\0", "")


class Codec(Protocol[V]):
    """Between values and bytes. `decode` raises one of UNREADABLE for bytes that `encode` has not made."""

    def encode(self, value: V) -> bytes: ...

    @property
    def decode(self) -> Callable[[bytes], V]: ...


class JSON(Generic[V]):
    """Values of one type as JSON; the decoder is built once. Raises TypeError for a type that msgspec cannot read."""

    def __init__(self, type: Any = Any) -> None:
        self.decode: Callable[[bytes], V] = msgspec.json.Decoder(type).decode
        self._decode_list: Callable[[bytes], list[V]] = msgspec.json.Decoder(list[type]).decode

    def encode(self, value: V) -> bytes:
        return _encoder.encode(value)

    def decode_many(self, parts: Sequence[bytes]) -> list[V]:
        """As one array: a call a value costs as much as small values do."""
        return self._decode_list(b"[%b]" % b",".join(parts))


def decoder_of_many(codec: Codec[V]) -> Callable[[Sequence[bytes]], list[V]]:
    """All at once where the codec can. Raises as its `decode`."""
    if isinstance(codec, JSON):
        return codec.decode_many
    return lambda parts: list(map(codec.decode, parts))


def encode(value: object) -> bytes:
    """The value as JSON. Takes what msgspec takes: builtins, dataclasses, Structs, datetime, UUID, Decimal."""
    return _encoder.encode(value)


def decode(data: bytes, type: object = object) -> object:
    """The value of the given type. Raises CodecError when the bytes are not JSON or not of that type."""
    try:
        if type is object:
            return msgspec.json.decode(data)
        return msgspec.json.decode(data, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError(str(error)) from error


class JSONSerializer(BaseSerializer):
    """The same JSON for what Django's cache and sessions store through django-redis."""

    def dumps(self, value: object) -> bytes:
        return encode(value)

    def loads(self, value: bytes) -> object:
        return decode(value)
