"""The version rule in a real browser: late, lost, doubled and reordered frames and pages leave the right timeline."""

import json
from collections.abc import Callable, Iterable

import pytest
from playwright.sync_api import APIResponse, Page, Route, WebSocket, WebSocketRoute, expect

from tests.site import Site

from .conftest import LONG
from .driver import Visitor, wait_until

pytestmark = pytest.mark.browser

DELETE_CODE = """
from accounts.models import User
from realtime import services
from realtime.models import Message
alice = User.objects.get(email="alice@example.org")
services.delete_message(alice, Message.objects.get(room={room}, number={number}))
"""


def number_of(room: str) -> int:
    return int(room.strip("/").split("/")[-1])


def message(room: int, number: int) -> dict:
    zoe = {"id": 99, "name": "Zoe", "initials": "Z", "tint": 1, "avatar": ""}
    return {
        "type": "message.new", "room": room, "number": number, "version": number, "id": f"m{number}", "author": zoe,
        "kind": "text", "html": f"<p>{number}</p>",
        "time": f"2026-11-23T01:{number // 60 % 60:02}:{number % 60:02}.000Z",
    }  # fmt: skip


class Wire:
    """A page's socket between it and the real server, to add frames to and to answer `room.resume` in its place."""

    def __init__(self, page: Page, room: str, answer: Callable[[int], dict]) -> None:
        self.page = page
        self.room = number_of(room)
        self.answer = answer
        self.asked: list[int] = []
        self.socket: WebSocketRoute | None = None
        page.route_web_socket("**/ws/", self._connect)

    def _connect(self, socket: WebSocketRoute) -> None:
        self.socket = socket
        server = socket.connect_to_server()

        def from_page(text):
            frame = json.loads(text)
            if frame["type"] == "room.resume":
                self.asked.append(frame["version"])
                self.send({"type": "room.changes", "room": self.room, **self.answer(frame["version"])})
            else:
                server.send(text)

        socket.on_message(from_page)

    def send(self, frame: dict) -> None:
        assert self.socket is not None
        self.socket.send(json.dumps(frame))

    def news(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.send({"type": "message.new", **message(self.room, number)})

    def open(self) -> None:
        """Load the page anew, with its socket on this wire, and wait until it is connected."""
        self.page.reload()
        self.page.locator(".composer textarea").fill("connected?")
        self.page.keyboard.press("Enter")
        expect(self.page.locator('.message:not([data-number=""])')).to_have_count(1)


class Pages:
    """Requests for the newest page of a room, which a test answers when it wants to."""

    def __init__(self, page: Page, room: str) -> None:
        self.page = page
        self.room = number_of(room)
        self.waiting: list[Route] = []
        self.count = 0
        page.route(f"**/rooms/{self.room}/messages", self._take)

    def _take(self, route: Route) -> None:
        self.count += 1
        self.waiting.append(route)

    def wait(self) -> Route:
        wait_until(self.page, lambda: self.waiting)
        return self.waiting.pop()

    def answer(self, numbers: Iterable[int], version: int, more: bool = False) -> None:
        page = [message(self.room, number) for number in numbers]
        self.wait().fulfill(json={"messages": page, "more": more, "version": version})


def expect_numbers(visitor: Visitor, numbers: Iterable[int]) -> None:
    expect(visitor.messages().locator(".text")).to_have_text([str(number) for number in numbers])


def test_frames_in_any_order_make_the_same_timeline(alice: Visitor, room: str):
    """Also twice, with a gap that the server is asked to fill."""
    missed = [message(number_of(room), 2), message(number_of(room), 3)]
    wire = Wire(alice.page, room, lambda version: {"changes": missed, "upto": 3, "more": False})
    wire.open()
    wire.news([4, 2, 4, 6, 5])
    expect(alice.messages().locator(".text")).to_have_text(["connected?", "2", "3", "4", "5", "6"])
    assert wire.asked == [1]


def test_a_message_deleted_while_its_page_is_on_its_way_does_not_stay_readable(
    alice: Visitor, long_room: str, site: Site
):
    """The deletion comes first, and its message is not there yet; then the page, made before, with the old text."""
    page = alice.page
    held: list[tuple[Route, APIResponse]] = []
    sockets: list[WebSocket] = []
    sent: list[str] = []
    page.route("**/messages?before=*", lambda route: held.append((route, route.fetch())), times=1)
    page.on("websocket", lambda socket: sockets.append(socket))
    page.goto(long_room)
    expect(alice.messages().last).to_contain_text(f"line {LONG} here")
    sockets[0].on("framesent", lambda text: sent.append(str(text)))
    page.locator("#timeline").evaluate("element => element.scrollBy(0, -element.scrollHeight)")
    wait_until(page, lambda: held)
    route, before = held.pop()
    number = before.json()["messages"][-1]["number"]
    with sockets[0].expect_event("framereceived", lambda text: '"deleted":true' in text):
        made = site.manage("shell", "-v", "0", "-c", DELETE_CODE.format(room=number_of(long_room), number=number))
        assert made.returncode == 0, made.stderr
    route.fulfill(response=before)
    expect(page.locator(f'.message[data-number="{number - 1}"]')).to_contain_text(f"line {number - 1} here")
    expect(page.locator(f'.message[data-number="{number}"]')).to_contain_text("This message was deleted.")
    expect(page.get_by_text(f"line {number} here")).to_have_count(0)
    asked = [json.loads(text)["version"] for text in sent if "room.resume" in text]
    assert asked == [before.json()["version"]]


def test_a_late_page_takes_the_feed_no_way_back(alice: Visitor, room: str):
    """Changes that came while an older page was loading are asked for again; new ones are shown all the same."""
    changed = message(number_of(room), 4999) | {"version": 5101, "deleted": True, "html": ""}
    answers = {5100: {"changes": [changed], "upto": 5102, "more": False}}
    wire = Wire(alice.page, room, lambda version: answers.get(version, {"reset": True}))
    pages = Pages(alice.page, room)
    wire.open()
    late: list[Route] = []
    alice.page.route("**/messages?before=*", lambda route: late.append(route))
    wire.news([5000])
    pages.answer(range(5051, 5101), 5100, more=True)
    wait_until(alice.page, lambda: late)
    wire.send({"type": "message.new", **changed})  # above what is loaded
    wire.news([5102])
    expect(alice.messages().last).to_contain_text("5102")
    older = [message(wire.room, number) for number in range(4990, 5051)]
    late[0].fulfill(json={"messages": older, "more": False, "version": 5100})
    expect(alice.page.locator('.message[data-number="4999"]')).to_contain_text("This message was deleted.")
    wire.news([5103])
    expect(alice.messages().last).to_contain_text("5103")
    assert wire.asked == [1, 5100]
    assert pages.count == 1


def test_far_behind_the_room_is_loaded_once_while_messages_pour_in(alice: Visitor, room: str):
    wire = Wire(alice.page, room, lambda version: {"reset": True})
    pages = Pages(alice.page, room)
    wire.open()
    wire.news(range(5000, 5050))
    first = pages.wait()
    wire.news(range(5050, 5100))
    first.fulfill(status=503, body="")
    retry = pages.wait()  # tried again without being told
    wire.news(range(5100, 5151))
    pages.waiting.append(retry)
    pages.answer(range(5071, 5121), 5120)
    expect_numbers(alice, range(5071, 5151))
    assert (wire.asked, pages.count) == ([1], 2)


def test_a_hole_that_is_left_after_loading_anew_is_asked_for(alice: Visitor, room: str):
    missing = {"changes": [message(number_of(room), 5125)], "upto": 5125, "more": False}
    wire = Wire(alice.page, room, lambda version: missing if version == 5124 else {"reset": True})
    pages = Pages(alice.page, room)
    wire.open()
    wire.news([5000])
    pages.waiting.append(pages.wait())
    wire.news(number for number in range(5115, 5131) if number != 5125)
    pages.answer(range(5071, 5121), 5120)
    expect_numbers(alice, range(5071, 5131))
    assert (wire.asked, pages.count) == ([1, 5124], 1)


def test_a_connection_that_never_greets_is_given_up(alice: Visitor, room: str):
    sockets: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        if len(sockets) > 2:
            socket.connect_to_server()  # the first two open, and nobody is there

    page = alice.page
    page.route_web_socket("**/ws/", connect)
    page.clock.install()
    page.reload()
    alice.write("kept meanwhile")
    for opened in (1, 2):
        wait_until(page, lambda count=opened: len(sockets) >= count)  # type: ignore[misc]
        page.clock.fast_forward(9_000)
        assert len(sockets) == opened
        page.clock.fast_forward(7_000)
    expect(alice.messages().locator(".text")).to_have_text(["kept meanwhile"])
    expect(page.locator(".pending")).to_have_count(0)
    assert len(sockets) == 3


SLEEP = """() => {
    const now = Date.now;
    const show = (state) => {
        Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    };
    show("hidden");
    Date.now = () => now() + 60_000;
    show("visible");
}"""


def test_a_tab_that_wakes_asks_what_it_missed(alice: Visitor, room: str):
    answers = {1: [message(number_of(room), 2)], 2: [message(number_of(room), 3)]}
    wire = Wire(alice.page, room, lambda version: {"changes": answers[version], "upto": version + 1, "more": False})
    wire.open()
    alice.page.evaluate(SLEEP)
    expect(alice.messages().last).to_contain_text("2")
    alice.page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(alice.messages().last).to_contain_text("3")
    assert wire.asked == [1, 2]


def test_who_loses_the_server_comes_back_at_a_moment_of_their_own(alice: Visitor, room: str):
    sockets: list[WebSocketRoute] = []
    pongs: list[dict] = []

    def connect(socket: WebSocketRoute) -> None:
        def to_page(text: str | bytes) -> None:
            frame = json.loads(text)
            if frame["type"] == "pong":
                frame["spread"] = 100.0
                pongs.append(frame)
            socket.send(json.dumps(frame))

        sockets.append(socket)
        socket.connect_to_server().on_message(to_page)

    page = alice.page
    page.route_web_socket("**/ws/", connect)
    page.add_init_script("Math.random = () => 0.5")
    page.clock.install()
    page.reload()
    alice.write("connected")
    expect(page.locator(".pending")).to_have_count(0)
    page.clock.fast_forward(26_000)
    wait_until(page, lambda: pongs)
    sockets[0].close(code=1012)
    expect(page.locator("#connection")).to_contain_text("The server is restarting")
    page.clock.fast_forward(49_000)
    assert len(sockets) == 1
    page.clock.fast_forward(3_000)
    wait_until(page, lambda: len(sockets) == 2)
    expect(page.locator("#connection")).to_be_hidden()
