"""Facts: what happened, as frozen typed dataclasses that are known by name and version.

A fact goes to one stream. Facts of the same key (a person, a room) stay in order there. A field may be added with a
default; any other change of shape is a new version, a class of its own, and the old one stays while entries of it may
still be waiting somewhere.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, ClassVar, TypeVar, dataclass_transform

import msgspec
from django.utils import timezone

E = TypeVar("E", bound="Event")
# What groups note as handled, in a column of this width: a longer one would stop them at the database.
EventId = Annotated[str, msgspec.Meta(max_length=32)]

_encoder = msgspec.json.Encoder()


class UnknownEvent(ValueError):
    """No class is registered for that name and version: a newer process has written it, or its app is gone."""


class UnreadableEvent(ValueError):
    """The bytes are not an event of that name and version."""


def new_id() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True, kw_only=True)
class Event:
    """The base of all facts. `id` tells two deliveries of one fact from two facts; `at` is when it happened."""

    name: ClassVar[str]
    version: ClassVar[int]
    stream: ClassVar[str]

    id: EventId = field(default_factory=new_id)
    at: datetime = field(default_factory=timezone.now)


_registry: dict[tuple[str, int], "_Kind"] = {}


@dataclass(frozen=True, slots=True)
class _Kind:
    type: type[Event]
    decode: Callable[[bytes | str], Any]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def event(name: str, *, stream: str = "", version: int = 1) -> Callable[[type[E]], type[E]]:
    """Make a class an event: `@event("user:created", stream="user-events") class UserCreated(Event): user_id: int`.

    Without a stream it is for signals only.

    Raises ValueError for a name and version that are taken, TypeError for a field whose type JSON cannot bring back.
    """

    def register(cls: type[E]) -> type[E]:
        if (name, version) in _registry:
            raise ValueError(f"There is an event {name!r} of version {version} already.")
        made = dataclass(frozen=True, kw_only=True)(cls)
        made.name, made.version, made.stream = name, version, stream
        _registry[name, version] = _Kind(made, msgspec.json.Decoder(made).decode)
        return made

    return register


def encode(event: Event) -> str:
    """The event's fields as JSON, without name and version, which lie beside it."""
    return _encoder.encode(event).decode()


def decode(name: str, version: int, data: bytes | str) -> Event:
    """Raises UnknownEvent, UnreadableEvent."""
    kind = _registry.get((name, version))
    if kind is None:
        raise UnknownEvent(f"No event {name!r} of version {version} is known here.")
    try:
        decoded: Event = kind.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableEvent(f"{name!r} of version {version} cannot be read: {error}") from error
    return decoded


def registered() -> list[type[Event]]:
    """All event classes, by name and version."""
    return [_registry[key].type for key in sorted(_registry)]


def streams() -> list[str]:
    """The streams that they go to."""
    return sorted({kind.type.stream for kind in _registry.values()} - {""})
