"""What goes over the socket, both ways; docs/protocol.md describes every frame.

Frames from a client are msgspec Structs told apart by `type`, so a frame is parsed and checked in one pass. Frames to
clients are built here and encoded once, however many sockets they go to.
"""

import math
from collections.abc import Iterable
from datetime import UTC
from typing import Annotated, Any

import msgspec

from accounts.models import User
from accounts.profiles import Profile, profile_of
from ratelimit.gate import Outcome

from .mentions import people_in
from .models import Departure, Membership, Message, Room
from .positions import Position

PROTOCOL = 1  # of docs/protocol.md; raised when a client that does not know of a change would go wrong
MAX_FRAME_BYTES = 64 * 1024  # a message of the greatest length in four-byte characters, with room for its envelope

RoomId = Annotated[int, msgspec.Meta(gt=0, le=2**63 - 1)]
Number = Annotated[int, msgspec.Meta(gt=0, le=2**63 - 1)]  # of a message in its room
ClientId = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[!-~]+\Z")]  # printable ASCII


class Send(msgspec.Struct, tag="message.send", frozen=True):
    id: ClientId
    room: RoomId
    text: str


class Join(msgspec.Struct, tag="room.join", frozen=True):
    room: RoomId


class Resume(msgspec.Struct, tag="room.resume", frozen=True):
    room: RoomId
    version: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Read(msgspec.Struct, tag="room.read", frozen=True):
    room: RoomId
    number: Number
    epoch: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None


class MarkUnread(msgspec.Struct, tag="room.unread", frozen=True):
    room: RoomId
    number: Number


class Edit(msgspec.Struct, tag="message.edit", frozen=True):
    id: ClientId
    room: RoomId
    number: Number
    text: str


class Delete(msgspec.Struct, tag="message.delete", frozen=True):
    id: ClientId
    room: RoomId
    number: Number


class Typing(msgspec.Struct, tag="typing", frozen=True):
    room: RoomId


class AskPresence(msgspec.Struct, tag="presence.ask", frozen=True):
    room: RoomId | None = None


class Ping(msgspec.Struct, tag="ping", frozen=True):
    pass


def type_of(frame: "ClientFrame") -> str:
    """The `type` that the frame came with."""
    return str(frame.__struct_config__.tag)


ClientFrame = Send | Edit | Delete | Join | Resume | Read | MarkUnread | Typing | AskPresence | Ping
_decoder: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame)
_encoder = msgspec.json.Encoder()


class BadFrame(ValueError):
    """A frame that cannot be acted on: `code` and `detail` for the error frame, `id` where one could be read."""

    def __init__(self, code: str, detail: str, frame_id: str | None = None) -> None:
        self.code = code
        self.detail = detail
        self.id = frame_id
        super().__init__(detail)


def parse(text: str) -> ClientFrame:
    """A client's frame. Raises BadFrame; the size is bounded before anything is parsed."""
    if len(text) > MAX_FRAME_BYTES or len(text.encode(errors="replace")) > MAX_FRAME_BYTES:
        raise BadFrame("too_large", f"A frame may have {MAX_FRAME_BYTES} bytes.")
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        code = "unknown_type" if "`$.type`" in str(error) or "`type`" in str(error) else "bad_field"
        raise BadFrame(code, str(error), _id_of(text)) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadFrame("bad_json", f"The frame is not a JSON object: {error}.") from error


def _id_of(text: str) -> str | None:
    """The id of a frame that is JSON but not valid, so that its sender can tell which one failed."""
    try:
        frame = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):  # the typed decoder stops at the first fault; there may be more
        return None
    frame_id = frame.get("id") if isinstance(frame, dict) else None
    return frame_id if isinstance(frame_id, str) and len(frame_id) <= 64 else None


def encode(frame: dict[str, Any]) -> str:
    return _encoder.encode(frame).decode()


def author(user: User) -> dict[str, Any]:
    return described(profile_of(user))


def described(profile: Profile) -> dict[str, Any]:
    """A message's author, as frames and pages show them."""
    return {
        "id": profile.id,
        "name": profile.name,
        "initials": profile.initials,
        "tint": profile.tint,
        "avatar": profile.avatar,
    }


def message(row: Message, by: dict[str, Any]) -> dict[str, Any]:
    """A message as history pages and frames show it; `by` is `author(row.author)`."""
    content: dict[str, Any] = {
        "room": row.room_id,
        "number": row.number,
        "version": row.version,
        "id": row.client_id,
        "author": by,
        "kind": row.kind,
        "html": row.html,
        "time": row.created_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    if row.is_deleted:
        content["deleted"] = True
    elif row.edited_at is not None:
        content["edited"] = True
    people = people_in(row.html)
    if people:
        content["mentions"] = people
    return content


def messages(rows: Iterable[Message]) -> list[dict[str, Any]]:
    """Rows with their authors loaded; each author is described once."""
    authors: dict[int, dict[str, Any]] = {}
    contents = []
    for row in rows:
        if row.author_id not in authors:
            authors[row.author_id] = author(row.author)
        contents.append(message(row, authors[row.author_id]))
    return contents


# --- What happened in a room, with the version that it made --------------------------------------------------------


def said(content: dict[str, Any]) -> dict[str, Any]:
    """A message, new or changed."""
    return {"type": "message.new", **content}


def settings(room: Room) -> dict[str, Any]:
    """What the room is called and is for, and whether it can still be written to."""
    return {
        "type": "room.settings",
        "room": room.pk,
        "version": room.settings_version,
        "name": room.name,
        "topic": room.topic,
        "archived": room.is_archived,
    }


def member(membership: Membership, people: int) -> dict[str, Any]:
    """Somebody came into the room, or has another role there; `people` are in it now."""
    return {**_of_person(membership), "role": membership.role, "people": people}


def departed(departure: Departure, people: int) -> dict[str, Any]:
    """Somebody is in the room no more."""
    return {**_of_person(departure), "left": True, "people": people}


def _of_person(row: Membership | Departure) -> dict[str, Any]:
    return {"type": "room.member", "room": row.room_id, "version": row.version, "user": author(row.user)}


# --- What one socket or person is told -----------------------------------------------------------------------------


def hello(
    user_id: int, rooms: dict[int, int], reads: dict[int, Position], mentions: dict[int, int], max_length: int
) -> str:
    return encode(
        {
            "type": "hello",
            "protocol": PROTOCOL,
            "user": user_id,
            "rooms": {str(room): version for room, version in rooms.items()},
            "reads": {str(room): position for room, position in reads.items()},
            "mentions": {str(room): count for room, count in mentions.items()},
            "max_length": max_length,
        }
    )


def read(room: int, position: Position) -> str:
    """Up to where the person has read, told to all their sockets."""
    return encode({"type": "room.read", "room": room, "number": position.number, "epoch": position.epoch})


def mention(room: int, number: int, mentioned: bool) -> str:
    """Whether that message counts as one that mentions the person; told to all their sockets when it has changed."""
    return encode({"type": "room.mention", "room": room, "number": number, "mentioned": mentioned})


def ack(frame_id: str, room: int, number: int, version: int) -> str:
    return encode({"type": "message.ack", "id": frame_id, "room": room, "number": number, "version": version})


def error(code: str, detail: str, frame_id: str | None = None) -> str:
    frame = {"type": "error", "code": code, "detail": detail}
    return encode(frame if frame_id is None else {**frame, "id": frame_id})


UNDECIDED = "Whether this is within its limit can't be told just now."
SHUT_OUT = "An administrator has shut out your address or your account."


def limited(outcome: Outcome, detail: str, frame_id: str | None = None) -> str:
    """Over a limit: `retry_after` is seconds, rounded up to a tenth; without it, trying again is no use."""
    seconds = None if outcome.retry_after is None else math.ceil(outcome.retry_after * 10) / 10
    words = SHUT_OUT if outcome.denied else UNDECIDED if outcome.unanswered else detail
    frame = {"type": "error", "code": "limited", "detail": words}
    more = {"id": frame_id, "retry_after": seconds}
    return encode({**frame, **{name: value for name, value in more.items() if value is not None}})


def joined(room: int, version: int) -> str:
    return encode({"type": "room.joined", "room": room, "version": version})


def changes(room: int, found: list[dict[str, Any]], upto: int, more: bool) -> str:
    return encode({"type": "room.changes", "room": room, "changes": found, "upto": upto, "more": more})


def reset(room: int) -> str:
    """Too far behind to catch up change by change: load the room again."""
    return encode({"type": "room.changes", "room": room, "reset": True})


def added(room: int) -> str:
    return encode({"type": "room.added", "room": room})


def removed(room: int) -> str:
    return encode({"type": "room.removed", "room": room})


def typing(room: int, user_id: int, name: str) -> str:
    return encode({"type": "typing", "room": room, "user": {"id": user_id, "name": name}})


def presence(came: Iterable[int], went: Iterable[int]) -> str:
    """Who came and who went, of those with whom one shares a small room."""
    return encode({"type": "presence", "came": sorted(came), "went": sorted(went)})


def here(people: Iterable[int]) -> str:
    """Everybody who is here, of those with whom one shares a small room."""
    return encode({"type": "presence", "here": sorted(people)})


def here_in(room: int, people: Iterable[int], count: int) -> str:
    """Who is here of one room; of a large one some of them are named, and all are counted."""
    return encode({"type": "presence", "room": room, "here": sorted(people), "count": count})


def pong(spread: float) -> str:
    """`spread` is in how many seconds this server's clients had better come back, should it lose them all."""
    return encode({"type": "pong", "spread": spread})
