"""What chat refuses, as a code for programs and a sentence for people."""


class ChatError(Exception):
    """A request that chat refuses. `code` is one of `CODES`; `detail` says what happened and what to do."""

    def __init__(self, code: str, detail: str | None = None) -> None:
        self.code = code
        self.detail = detail or CODES[code]
        super().__init__(self.detail)


CODES = {
    "no_room": "There is no such room, or you are not in it.",
    "not_member": "You are not in this room. Join it to write here.",
    "archived": "This room is archived: it can be read, but nobody can write to it.",
    "inactive": "Your account is no longer active. Ask an administrator.",
    "no_message": "There is no such message.",
    "not_author": "Only its author can change a message.",
    "deleted": "This message was deleted, so it can't be changed.",
    "empty": "The message is empty.",
    "too_long": "The message is too long. Send it in parts.",
    "bad_name": "A room needs a name of at most 80 characters.",
    "name_taken": "There is already an open room of that name. Choose another.",
    "not_owner": "Only an owner of the room can do this.",
    "not_open": "This room is private. Ask one of its members to add you.",
    "direct_room": "This can't be done in a direct room.",
    "oneself": "A direct room is between two people; this is your own account.",
    "last_owner": "You are the only owner. Archive the room, or make somebody else an owner first.",
    "unrenderable": "This text cannot be shown. Send it in another form.",
    "no_export": "There is no such file, or it was removed after its time. Ask for a new export.",
    "untold": "How far your last export is can't be told just now. Try again in a few seconds.",
    "busy": "The server has more messages than it can store right now. Try again in a few seconds.",
    "unavailable": "The message could not be stored just now. Try again in a few seconds.",
    "bad_json": "The frame is not a JSON object.",
    "binary": "Only text frames are understood.",
    "unknown_type": "There is no frame of this type.",
    "bad_field": "A field is missing or of the wrong kind.",
    "too_large": "The frame is too large.",
    "limited": "This is faster than the limit allows.",
}


# Codes with which the server closes a socket (RFC 6455, section 7.4: 4000 and above are the application's).
SIGNED_OUT = 4001  # no session, or it has ended: sign in, don't reconnect
RENEWED = 4002  # the session goes on under a new key, which the browser has by now: reconnect with it
FLOOD = 4008  # too many bad frames, or too many over their limit
LIMITED = 4029  # opened too often, or too many at once: reconnect after the time that the frame before has told
TOO_SLOW = 4009  # more waits for this socket than it can read: reconnect and resume
TRY_LATER = 1013  # the session store or the database does not answer
