"""The chat socket: one a person, tab and device, all of the person's rooms over it. It parses, calls and answers."""

import asyncio
import logging
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import Error as DatabaseFault

from accounts import last_seen, sessions
from accounts.devices import NOTE_SECONDS
from accounts.sessions import SessionUnavailable
from intellicolab.prepared import write_of
from intellicolab.threads import run
from ratelimit.gate import Outcome
from ratelimit.matching import UNKNOWN_FRAME

from . import frames, positions, presence, queries, services, typists
from .answers import Answers
from .authentication import Visitor, is_same_origin, limits_of, note_use, visitor_of
from .committer import committer
from .errors import CODES, FLOOD, LIMITED, SIGNED_OUT, TRY_LATER, ChatError
from .frames import AskPresence, BadFrame, ClientFrame, Delete, Edit, Join, MarkUnread, Ping, Read, Resume, Send, Typing
from .hub import Hub
from .models import Message
from .notes import Notes
from .outlet import Outlet
from .publisher import room_topic
from .services import NewMessage, Posted

logger = logging.getLogger("realtime")

BAD_FRAMES = 20  # within BAD_SECONDS; a faulty client makes one now and then, a hostile one many
REFUSED_FRAMES = 100  # over their limit, within the same time: who goes on in spite of the answers is closed
BAD_SECONDS = 10.0
LIMITED_SOCKET = "You have opened chat too often, or in too many places at once."
MAX_UNANSWERED = 200  # messages of one socket that wait for their commit


class ChatConsumer(AsyncWebsocketConsumer):
    """Channels' consumer without its dispatch loop, which makes a task and takes three turns of the loop a frame.

    On a busy server a turn delivers a message to a whole room. Frames that wait are taken in one turn here, and so the
    committer gets them together. There is no channel layer of its own either: that would be a subscription a socket,
    where the hub has one a room and process.
    """

    outlet: Outlet
    user_id: int | None = None
    _bad: "Recent | None" = None  # both are made when they are needed: an empty deque takes 760 bytes of each socket
    _refused: "Recent | None" = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._unanswered, self._answers = 0, Answers.here()
        self._limits = limits_of(scope, None)
        self._used = time.monotonic()  # the opening of the socket is noted as a use
        self.outlet = Outlet(send, self._close_soon, write_of(scope))
        self.scope, self.base_send = scope, send
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass
        finally:  # however it ended, a crash of ours included: a hub must not keep a socket that is gone
            self.outlet.close()
            Hub.here().leave_all(self.outlet)
            if self.user_id is not None:
                Notes.here().leave(last_seen.note_leaving, self.user_id)
            await self._limits.close()  # last: a cancellation may end it

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Without Channels' connection clean-up, a thread hop an event: no database is touched on this thread."""
        handlers = {
            "websocket.connect": self.websocket_connect,
            "websocket.receive": self.websocket_receive,
            "websocket.disconnect": self.websocket_disconnect,
        }
        await handlers[message["type"]](message)

    # --- Opening and closing ---------------------------------------------------------------------------------------

    async def connect(self) -> None:
        if not is_same_origin(self.scope):
            await self.close()  # before the accept: the handshake is answered with 403
            return
        await self.accept()
        try:
            async with Hub.here().opening:
                await self._begin()
        except (SessionUnavailable, DatabaseFault):
            await self.close(TRY_LATER)

    async def _begin(self) -> None:
        visitor = await visitor_of(self.scope)
        if visitor is not None:
            self._limits = limits_of(self.scope, visitor.user.pk)
        outcome = await self._limits.open()
        if not outcome.admitted:
            await self.send(frames.limited(outcome, LIMITED_SOCKET))
            await self.close(LIMITED)
        elif visitor is None:
            await self.close(SIGNED_OUT)
        else:
            await self._welcome(visitor)

    async def _welcome(self, visitor: Visitor) -> None:
        user_id, self.outlet.session = visitor.user.pk, visitor.session
        await Hub.here().enter(self.outlet, user_id, visitor.rooms)
        # Read again now that the rooms are followed: a change in between is in these versions or comes as a frame.
        waiting = await positions.awaiting(visitor.rooms.values())
        standing = await run(queries.standing_of, user_id, waiting)
        if await sessions.amissing(self.outlet.session):  # and its end is seen here or comes as news
            self.outlet.hang_up(SIGNED_OUT)
            return
        Hub.here().keep_only(self.outlet, standing.versions)  # and who left a room in between hears no more of it
        Hub.here().began(standing.versions)
        self.user_id, self._name = user_id, visitor.user.display_name
        self.outlet.release(frames.hello(user_id, *standing, settings.MESSAGE_MAX_LENGTH))
        Notes.here().leave(note_use, self.scope, user_id, self.outlet.session)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        raise StopConsumer

    def _close_soon(self, code: int) -> None:
        self._closing = asyncio.ensure_future(self._close(code))  # the loop keeps only weak references to tasks

    async def _close(self, code: int) -> None:
        with suppress(OSError, RuntimeError):  # the client closed first
            await self.close(code)

    # --- Frames ----------------------------------------------------------------------------------------------------

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.user_id is None or self.outlet.closed:
            return  # nobody is signed in here, or no longer, and the socket is being closed
        try:
            await self._understand(self.user_id, text_data)
        except ChatError as error:
            self.outlet.push(frames.error(error.code, error.detail))
        except DatabaseFault:
            logger.exception("A frame could not be answered")
            self.outlet.push(frames.error("unavailable", "The database does not answer. Try again in a few seconds."))

    async def _understand(self, user_id: int, text: str | None) -> None:
        try:
            if text is None:
                raise BadFrame("binary", CODES["binary"])
            frame = frames.parse(text)
        except BadFrame as error:
            await self._reject(error)
        else:
            await self._act(user_id, frame)

    async def _act(self, user_id: int, frame: ClientFrame) -> None:
        if isinstance(frame, Send):
            await self._send_message(user_id, frame)
        elif isinstance(frame, Edit | Delete):
            await self._change_message(user_id, frame)
        elif await self._is_admitted(frames.type_of(frame)):
            await self._do(user_id, frame)

    async def _do(self, user_id: int, frame: ClientFrame) -> None:
        match frame:
            case Join():
                await self._join(user_id, frame)
            case Resume():
                await self._resume(user_id, frame)
            case Read():
                self._note_use(user_id)
                await run(services.mark_read, user_id, frame.room, frame.number, frame.epoch)
            case MarkUnread():
                await run(services.mark_unread, user_id, frame.room, frame.number)
            case Typing():
                if await Hub.here().is_small(self.outlet, frame.room):
                    typists.tell(frame.room, user_id, self._name)
            case AskPresence():
                await self._tell_presence(user_id, frame)
            case Ping():
                self.outlet.push(frames.pong(Hub.here().spread))

    async def _send_message(self, user_id: int, frame: Send) -> None:
        """Messages that wait here are asked about together, and handed on in their order."""
        if self._unanswered >= MAX_UNANSWERED:
            self.outlet.push(frames.error("busy", CODES["busy"], frame.id))
            return
        self._note_use(user_id)
        self._unanswered += 1
        try:
            await self._limits.ask(frames.type_of(frame), partial(self._post, user_id, frame))
        except BaseException:
            self._unanswered -= 1
            raise

    def _post(self, user_id: int, frame: Send, outcome: Outcome) -> None:
        """Hand the message to the committer; the answer goes out from its future, without a task a message."""
        if not outcome.admitted:
            self._unanswered -= 1
            self._refuse(outcome, frame.id)
            return
        future = committer.submit(NewMessage(frame.room, user_id, frame.id, frame.text))
        self._answers.expect(future, partial(self._answer, frame.id))

    async def _change_message(self, user_id: int, frame: Edit | Delete) -> None:
        """Seldom enough to go by itself, in a worker thread. The answer carries the frame's id, as a message's does."""
        if not await self._is_admitted(frames.type_of(frame), frame.id):
            return
        self._note_use(user_id)
        try:
            row = await run(_changed, user_id, frame)
        except ChatError as error:
            self.outlet.push(frames.error(error.code, error.detail, frame.id))
        else:
            self.outlet.push(frames.ack(frame.id, row.room_id, row.number, row.version))

    def _note_use(self, user_id: int) -> None:
        """Who only chats makes no request: what they say and read counts as use of the device, too."""
        now = time.monotonic()
        if now - self._used >= NOTE_SECONDS:
            self._used = now
            Notes.here().leave(note_use, self.scope, user_id, self.outlet.session)

    def _answer(self, frame_id: str, done: "Future[Posted]") -> None:
        self._unanswered -= 1
        if done.cancelled():
            return
        error = done.exception()
        if isinstance(error, ChatError):
            self.outlet.push(frames.error(error.code, error.detail, frame_id))
        else:
            place = done.result()
            self.outlet.push(frames.ack(frame_id, place.room_id, place.number, place.version))

    async def _join(self, user_id: int, frame: Join) -> None:
        """Follow a room entered since the socket was opened. The database says whether one is in it.

        It is asked again once the room is followed: from then on, news of a removal reaches the hub.
        """
        if not await run(queries.is_member, user_id, frame.room):
            raise ChatError("no_room")
        await Hub.here().follow(self.outlet, [frame.room])
        try:
            if not await run(queries.is_member, user_id, frame.room):
                raise ChatError("no_room")
            version = await run(queries.last_version, frame.room)
        except BaseException:  # no socket hears a room of which its client was not told
            Hub.here().leave(self.outlet, room_topic(frame.room))
            raise
        Hub.here().began({frame.room: version})
        self.outlet.push(frames.joined(frame.room, version))

    async def _resume(self, user_id: int, frame: Resume) -> None:
        self.outlet.push(await Hub.here().resume(self.outlet, user_id, frame.room, frame.version))

    async def _tell_presence(self, user_id: int, frame: AskPresence) -> None:
        if frame.room is None:
            self.outlet.push(frames.here(await run(presence.around, user_id)))
            return
        if not await run(queries.is_member, user_id, frame.room):
            raise ChatError("no_room")
        found = await run(presence.inside, frame.room)
        self.outlet.push(frames.here_in(frame.room, found.people, found.count))

    async def _is_admitted(self, kind: str, frame_id: str | None = None) -> bool:
        """Whether the limits admit a frame of that type; if not, its sender is told when they will."""
        outcome = await self._limits.frame(kind)
        if not outcome.admitted:
            self._refuse(outcome, frame_id)
        return outcome.admitted

    def _refuse(self, outcome: Outcome, frame_id: str | None) -> None:
        self.outlet.push(frames.limited(outcome, CODES["limited"], frame_id))
        self._refused = self._refused or Recent(REFUSED_FRAMES)
        if self._refused.too_many():
            self.outlet.hang_up(FLOOD)

    async def _reject(self, error: BadFrame) -> None:
        self._bad = self._bad or Recent(BAD_FRAMES)
        if self._bad.too_many():
            self.outlet.hang_up(FLOOD)
        elif await self._is_admitted(UNKNOWN_FRAME, error.id):
            self.outlet.push(frames.error(error.code, error.detail, error.id))


def _changed(user_id: int, frame: Edit | Delete) -> Message:
    user, message = queries.message_for(user_id, frame.room, frame.number)
    if isinstance(frame, Edit):
        return services.edit_message(user, message, frame.text)
    return services.delete_message(user, message)


class Recent:
    """Counts what a socket did in the last BAD_SECONDS, up to a bound."""

    def __init__(self, most: int) -> None:
        self._times: deque[float] = deque(maxlen=most)

    def too_many(self) -> bool:
        """Note one more; whether there were more than the bound."""
        now = time.monotonic()
        full = len(self._times) == self._times.maxlen and now - self._times[0] < BAD_SECONDS
        self._times.append(now)
        return full
