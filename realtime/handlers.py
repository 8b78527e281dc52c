"""What chat does a moment after a fact: handlers of consumer groups, in the worker."""

from intellicolab.events.groups import on

from . import services
from .events import MessageCreated, MessageDeleted, MessageEdited

MENTIONS = "mentions"


def _names(event: MessageCreated | MessageEdited | MessageDeleted) -> bool:
    return event.names


@on(MessageCreated, group=MENTIONS, where=_names)
def note_mentions(event: MessageCreated) -> None:
    services.note_mentions(event.room_id, event.number, is_new=True)


@on(MessageEdited, group=MENTIONS, where=_names)
@on(MessageDeleted, group=MENTIONS, where=_names)
def note_mentions_again(event: MessageEdited | MessageDeleted) -> None:
    services.note_mentions(event.room_id, event.number)
