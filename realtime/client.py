"""A chat client for Python: for bots, tests and benchmarks. It needs neither Django nor the application's settings.

    async with Client("https://chat.example.org", cookie="sessionid=…") as chat:
        room = chat.follow(1, on_change=print)
        await chat.send(1, "Hello *everyone*")

It comes back by itself when the connection is lost, asks for what it missed, and sends again, with the same id, what
was not answered: so what `send` returned for is stored, once, and a followed room is complete in the end.
"""

import asyncio
import json
import random
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from .roomcopy import Change, RoomCopy

Frame = dict[str, Any]

HELLO_SECONDS = 15.0
PING_SECONDS = 25.0  # also how old the server's word on `spread` may be
ANSWER_SECONDS = 10.0  # then a question about a room is asked again
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds between two attempts to connect; half of each is random
RETRY_SECONDS = 2.0  # after `busy` and `unavailable`
MOST_UNANSWERED = 100  # messages sent and not answered; the server takes 200 of a socket

SIGNED_OUT, FLOOD = 4001, 4008  # as in errors.py, which needs nothing of Django either, but is the server's
TRY_AGAIN = {"busy", "unavailable", "limited"}


class Refused(Exception):
    """The server refuses what was asked for; `code` is one of docs/protocol.md."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Ended(ConnectionError):
    """The server will not have this client any more: nobody is signed in, or it sent too many faulty frames."""


@dataclass(slots=True)
class Question:
    """A frame with an id, and whoever waits for its answer."""

    frame: Frame
    answer: "asyncio.Future[Frame]"


class Client:
    """`url` is the site's, `cookie` a signed-in session's header value, `on_frame` hears every frame that comes."""

    def __init__(self, url: str, *, cookie: str, on_frame: Callable[[Frame], None] | None = None) -> None:
        self.url = url.rstrip("/")
        self.rooms: dict[int, RoomCopy] = {}
        self.user_id = 0
        self.hello: Frame = {}
        self._cookie = cookie
        self._on_frame = on_frame
        self._socket: ClientConnection | None = None
        self._open = asyncio.Event()
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()  # of this connection
        self._questions: dict[str, Question] = {}
        self._slots = asyncio.Semaphore(MOST_UNANSWERED)
        self._asked: dict[int, float] = {}  # when each room was asked about on this connection
        self._spread = 0.0
        self._stay_away = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_connected())
        opened = asyncio.create_task(self._open.wait())
        await asyncio.wait([self._task, opened], return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        if self._task.done():
            self._task.result()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, Ended):
                await self._task

    async def until_ended(self) -> None:
        """Wait until the server will not have this client any more, as a bot's main does. Raises Ended."""
        if self._task is not None:
            await asyncio.shield(self._task)

    def cut(self) -> None:
        """Lose the connection, as when the network goes away; the client comes back by itself."""
        if self._socket is not None:
            self._socket.transport.abort()

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    # --- What one can do -------------------------------------------------------------------------------------------

    async def send(self, room: int, text: str, frame_id: str | None = None) -> Frame:
        """Post a message; returns its `message.ack` when it is stored. Raises Refused, Ended."""
        return await self._ask({"type": "message.send", "room": room, "text": text}, frame_id)

    async def edit(self, room: int, number: int, text: str) -> Frame:
        """Give one's own message another text. Raises as `send`."""
        return await self._ask({"type": "message.edit", "room": room, "number": number, "text": text})

    async def delete(self, room: int, number: int) -> Frame:
        """Take a message's text away. Raises as `send`."""
        return await self._ask({"type": "message.delete", "room": room, "number": number})

    def follow(
        self,
        room: int,
        *,
        version: int | None = None,
        keep: int | None = None,
        on_change: Callable[[Change], None] = lambda change: None,
    ) -> RoomCopy:
        """Keep a copy of a room that one is in, from that version on; without it from now on.

        Raises KeyError where the last `hello` named no such room.
        """
        newest = self.hello["rooms"][str(room)]
        copy = RoomCopy(room, newest if version is None else version, on_change, keep)
        copy.hear_of(newest)
        self.rooms[room] = copy
        self._look_after(copy)
        return copy

    def tell(self, frame: Frame) -> None:
        """Send a frame that is not answered by its id, such as `typing`; it is lost where the connection is."""
        if self.is_open:
            self._outgoing.put_nowait(json.dumps(frame))

    async def _ask(self, frame: Frame, frame_id: str | None = None) -> Frame:
        frame["id"] = frame_id or uuid.uuid4().hex
        async with self._slots:
            question = Question(frame, asyncio.get_running_loop().create_future())
            self._questions[frame["id"]] = question
            try:
                self._end_if_over()
                self.tell(frame)
                return await question.answer
            finally:
                del self._questions[frame["id"]]

    def _end_if_over(self) -> None:
        if self._task is None or self._task.done():
            raise Ended("This client is not connected, and will not be.")

    # --- The connection ----------------------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        failures = 0
        try:
            while True:
                opened = await self._connect_once()
                failures = 1 if opened else failures + 1
                await asyncio.sleep(self._delay(failures))
        finally:
            for question in self._questions.values():
                if not question.answer.done():
                    question.answer.set_exception(Ended("The connection has ended for good."))

    async def _connect_once(self) -> bool:
        """Whether the connection came to its `hello`; returns when it is lost. Raises Ended."""
        was_open = False
        try:
            async with self._connection() as socket:
                await self._begin(socket)
                was_open = True
                await self._listen(socket)
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code in (SIGNED_OUT, FLOOD):
                raise Ended(f"The server closed the connection ({closed.rcvd.code}).") from closed
        except InvalidStatus as refused:
            if refused.response.status_code == 403:
                raise Ended("The server refuses connections from here.") from refused
        except (OSError, EOFError, TimeoutError, WebSocketException):
            pass
        finally:
            self._open.clear()
            self._asked.clear()
        return was_open

    def _connection(self) -> connect:
        scheme, host, *_ = urlsplit(self.url)
        address = urlunsplit(("wss" if scheme == "https" else "ws", host, "/ws/", "", ""))
        return connect(
            address, origin=self.url, additional_headers={"Cookie": self._cookie},  # type: ignore[arg-type]
            open_timeout=HELLO_SECONDS, ping_interval=PING_SECONDS, max_size=None, compression=None, proxy=None,
        )  # fmt: skip

    async def _begin(self, socket: ClientConnection) -> None:
        async with asyncio.timeout(HELLO_SECONDS):
            while (frame := json.loads(await socket.recv()))["type"] != "hello":
                self._stay_away = frame.get("retry_after", 0.0)
        self.hello, self.user_id, self._stay_away = frame, frame["user"], 0.0
        self._hear(frame)
        for copy in self.rooms.values():
            copy.hear_of(frame["rooms"].get(str(copy.id), 0))
        self._socket, self._outgoing = socket, asyncio.Queue()
        self._open.set()
        for question in self._questions.values():
            self.tell(question.frame)

    async def _listen(self, socket: ClientConnection) -> None:
        work = [asyncio.create_task(self._write(socket)), asyncio.create_task(self._tend())]
        try:
            async for text in socket:
                self._receive(json.loads(text))
        finally:
            for task in work:
                task.cancel()

    async def _write(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):  # what has an id goes out again after the next hello
            while True:
                await socket.send(await self._outgoing.get())

    async def _tend(self) -> None:
        """Ask again about rooms that are behind, and what the server says of coming back."""
        loop, pinged = asyncio.get_running_loop(), 0.0
        while True:
            for copy in self.rooms.values():
                self._look_after(copy)
            if loop.time() - pinged > PING_SECONDS:
                pinged = loop.time()
                self.tell({"type": "ping"})
            await asyncio.sleep(1)

    def _delay(self, failures: int) -> float:
        """Seconds; a crowd that lost its server together does not come back in one instant."""
        if self._stay_away:
            return self._stay_away * random.uniform(1, 2)  # noqa: S311  jitter, not a secret
        # Not without end: after some hours the number would be larger than a float can be.
        doubling = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(failures - 1, 30))
        spread = self._spread * random.random() if failures == 1 else 0.0  # noqa: S311
        return doubling * random.uniform(0.5, 1) + spread  # noqa: S311

    # --- Frames ----------------------------------------------------------------------------------------------------

    def _hear(self, frame: Frame) -> None:
        if self._on_frame is not None:
            self._on_frame(frame)

    def _receive(self, frame: Frame) -> None:
        self._hear(frame)
        match frame["type"]:
            case "message.ack" | "error":
                self._answered(frame)
            case "pong":
                self._spread = frame["spread"]
            case "room.changes":
                self._changed(frame)
            case "message.new" | "room.settings" | "room.member" if frame["room"] in self.rooms:
                copy = self.rooms[frame["room"]]
                copy.receive(frame)
                self._look_after(copy)

    def _answered(self, frame: Frame) -> None:
        question = self._questions.get(frame.get("id", ""))
        if question is None or question.answer.done():
            return
        if frame["type"] == "message.ack":
            question.answer.set_result(frame)
        elif frame["code"] in TRY_AGAIN and ("retry_after" in frame or frame["code"] != "limited"):
            delay = frame.get("retry_after", RETRY_SECONDS)
            asyncio.get_running_loop().call_later(delay, self._ask_again, question)
        else:
            question.answer.set_exception(Refused(frame["code"], frame["detail"]))

    def _ask_again(self, question: Question) -> None:
        if not question.answer.done():
            self.tell(question.frame)

    def _look_after(self, copy: RoomCopy) -> None:
        """Ask what the copy lacks, unless it was asked a moment ago."""
        now = asyncio.get_running_loop().time()
        if copy.is_behind and now - self._asked.get(copy.id, -ANSWER_SECONDS) >= ANSWER_SECONDS and self.is_open:
            self._asked[copy.id] = now
            self.tell({"type": "room.resume", "room": copy.id, "version": copy.version})

    def _changed(self, frame: Frame) -> None:
        copy = self.rooms.get(frame["room"])
        if copy is None:
            return
        if frame.get("reset"):
            self._loading = asyncio.ensure_future(self._load(copy))
            return
        copy.hear_of(frame["upto"] + frame["more"])
        copy.catch_up(frame["changes"], frame["upto"])
        self._asked.pop(copy.id, None)
        self._look_after(copy)

    async def _load(self, copy: RoomCopy) -> None:
        """The newest page by HTTP; when that fails, the room is asked about again in a while."""
        with suppress(OSError, ValueError):
            page = await asyncio.to_thread(self._fetch, f"/rooms/{copy.id}/messages")
            copy.begin_anew([{"type": "message.new", **message} for message in page["messages"]], page["version"])
            self._asked.pop(copy.id, None)

    def _fetch(self, path: str) -> Any:
        headers = {"Cookie": self._cookie, "Accept": "application/json"}
        request = urllib.request.Request(self.url + path, headers=headers)  # noqa: S310  the site that the caller named
        with urllib.request.urlopen(request, timeout=HELLO_SECONDS) as answer:  # noqa: S310
            return json.load(answer)
