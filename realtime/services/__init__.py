"""Every write to chat. A write to a room locks that room's row first, so its numbers and versions have no gaps.

What the caller may do is decided inside the same transaction, from the database. News is published when the
transaction has committed, and only then.
"""

from .members import add_member, join_first_room, join_room, leave_room, make_owner, remove_member
from .messages import NewMessage, Outcome, Posted, delete_message, edit_message, post_message, post_messages
from .naming import note_mentions
from .reading import mark_read, mark_unread
from .rooms import FIRST_ROOM_NAME, archive_room, checked_name, create_room, open_direct_room, update_room

__all__ = [
    "FIRST_ROOM_NAME",
    "NewMessage",
    "Outcome",
    "Posted",
    "add_member",
    "archive_room",
    "checked_name",
    "create_room",
    "delete_message",
    "edit_message",
    "join_first_room",
    "join_room",
    "leave_room",
    "make_owner",
    "mark_read",
    "mark_unread",
    "note_mentions",
    "open_direct_room",
    "post_message",
    "post_messages",
    "remove_member",
    "update_room",
]
