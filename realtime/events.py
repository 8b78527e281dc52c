"""Facts about rooms and what is said in them. All facts of a room are written under its lock, and so stay in order."""

from intellicolab.events.schema import Event, event

STREAM = "chat-events"


@event("room:created", stream=STREAM)
class RoomCreated(Event):
    room_id: int
    kind: str
    by_id: int | None = None


@event("room:archived", stream=STREAM)
class RoomArchived(Event):
    room_id: int
    by_id: int


@event("member:joined", stream=STREAM)
class MemberJoined(Event):
    """Somebody is in a room. `by_id` is who let them in, where they did not come by themselves."""

    room_id: int
    user_id: int
    by_id: int | None = None


@event("member:left", stream=STREAM)
class MemberLeft(Event):
    """Somebody is no longer in a room. `by_id` is who put them out, where they did not go by themselves."""

    room_id: int
    user_id: int
    by_id: int | None = None


@event("message:created", stream=STREAM)
class MessageCreated(Event):
    """`names` says whether the text names people; who they are is in the message."""

    room_id: int
    number: int
    author_id: int
    names: bool = False


@event("message:edited", stream=STREAM)
class MessageEdited(Event):
    """`names` says whether its text names people, or named some before."""

    room_id: int
    number: int
    by_id: int
    names: bool = False


@event("message:deleted", stream=STREAM)
class MessageDeleted(Event):
    """`names` says whether its text named people."""

    room_id: int
    number: int
    author_id: int
    by_id: int
    names: bool = False
