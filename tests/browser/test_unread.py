"""What is unread, in a real browser: badges in the sidebar, live, and gone for good when it was read."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Locator, Page, Route, WebSocketRoute, expect
from redis import Redis

from intellicolab.events.consumers import BLOCK
from intellicolab.redis import keys
from realtime.events import STREAM
from realtime.handlers import MENTIONS
from tests.site import Site

from .driver import Visitor, wait_until

pytestmark = pytest.mark.browser


def badge(visitor: Visitor, room: str) -> Locator:
    return visitor.page.locator(f'#sidebar-lists a[href="{room}"] .badge')


@pytest.fixture
def elsewhere(alice: Visitor, bob: Visitor, room: str) -> str:
    """Alice looks at the list of rooms, Bob is in her room; the path of that."""
    bob.join(room)
    alice.page.goto("/people/")
    expect(badge(alice, room)).to_be_hidden()
    return room


def test_a_badge_comes_when_another_writes_and_goes_when_it_is_read(alice: Visitor, bob: Visitor, elsewhere: str):
    for count in (1, 2):
        bob.write(f"news {count}")
        expect(badge(alice, elsewhere)).to_have_text(f"{count} unread")
    alice.page.reload()
    expect(badge(alice, elsewhere)).to_have_text("2 unread")
    alice.page.locator(f'#sidebar-lists a[href="{elsewhere}"]').click()
    expect(alice.messages()).to_have_count(2)
    expect(badge(alice, elsewhere)).to_be_hidden()
    alice.page.locator("#sidebar-lists .more-link").first.click()  # at once: what was read is told before one leaves
    expect(alice.page.locator("h1")).to_have_text("All rooms")
    expect(badge(alice, elsewhere)).to_be_hidden()
    wait_until(alice.page, lambda: alice.page.reload() and badge(alice, elsewhere).is_hidden())  # told by a frame, too
    expect(badge(bob, elsewhere)).to_be_hidden()


def test_what_comes_while_one_reads_is_read(alice: Visitor, bob: Visitor, room: str):
    bob.join(room)
    bob.write("hello")
    expect(alice.messages()).to_have_count(1)
    expect(badge(alice, room)).to_be_hidden()

    def is_read_elsewhere() -> bool:
        alice.page.goto("/people/")
        return badge(alice, room).is_hidden()

    wait_until(alice.page, is_read_elsewhere)  # the frame that tells it is on its way


def test_what_is_below_the_screen_is_unread(alice: Visitor, bob: Visitor, room: str):
    bob.join(room)
    bob.write("\n\n".join(f"line {n}" for n in range(120)))
    expect(alice.messages()).to_have_count(1)
    alice.page.locator(".timeline").hover()
    alice.page.mouse.wheel(0, -2000)
    expect(alice.page.locator(".pill")).to_be_visible()
    bob.write("below")
    expect(badge(alice, room)).to_have_text("1 unread")
    alice.page.locator(".pill").click()
    expect(badge(alice, room)).to_be_hidden()


def test_a_page_without_javascript_reads_what_it_shows(open_browser, alice: Visitor, bob: Visitor, elsewhere: str):
    bob.write("hello")
    plain = open_browser("alice", java_script_enabled=False)
    plain.page.goto("/people/")
    expect(badge(plain, elsewhere)).to_have_text("1 unread")
    with plain.page.expect_response(lambda answer: "/read?upto=" in answer.url) as answered:
        plain.page.goto(elsewhere)
    assert answered.value.status == 204
    plain.page.goto("/people/")
    expect(badge(plain, elsewhere)).to_be_hidden()


def second_tab(visitor: Visitor, address: str) -> Page:
    page = visitor.context.new_page()
    page.goto(address)
    expect(page.locator("#main")).to_be_visible()
    return page


def badge_on(page: Page, room: str) -> Locator:
    return page.locator(f'#sidebar-lists a[href="{room}"] .badge')


def mark_unread(page: Page, number: int) -> None:
    row = page.locator(f'.message[data-number="{number}"]')
    row.hover()
    row.get_by_role("button", name="What to do with this message").click()
    page.get_by_role("menuitem", name="Mark unread from here").click()


def test_what_one_tab_reads_is_read_in_the_other(alice: Visitor, bob: Visitor, elsewhere: str):
    other = second_tab(alice, "/people/")
    bob.write("news")
    for page in (alice.page, other):
        expect(badge_on(page, elsewhere)).to_have_text("1 unread")
        expect(page).to_have_title(re.compile(r"^\(\d+\) "))
    other.locator(f'#sidebar-lists a[href="{elsewhere}"]').click()
    for page in (other, alice.page):
        expect(badge_on(page, elsewhere)).to_be_hidden()


def test_what_is_marked_unread_in_one_tab_stays_so_in_all(alice: Visitor, bob: Visitor, shared: str):
    """Both tabs have the room open and in view; only who comes back to it, or writes, reads again."""
    for text in ("one", "two", "three"):
        bob.write(text)
    expect(alice.messages()).to_have_count(3)
    other = second_tab(alice, shared)
    expect(other.locator('.message[data-number="3"]')).to_be_visible()
    third = second_tab(alice, "/people/")
    mark_unread(alice.page, 2)
    for page in (alice.page, other, third):
        expect(badge_on(page, shared)).to_have_text("2 unread")
    for page in (alice.page, other):
        expect(page.locator('.new-line + .message[data-number="2"]')).to_be_visible()
    bob.write("four")
    for page in (alice.page, other, third):
        expect(page.locator('.message[data-number="4"]') if page != third else page.locator("main")).to_be_visible()
        expect(badge_on(page, shared)).to_have_text("3 unread")
    third.reload()
    expect(badge_on(third, shared)).to_have_text("3 unread")

    third.locator(f'#sidebar-lists a[href="{shared}"]').click()
    for page in (third, alice.page, other):
        expect(badge_on(page, shared)).to_be_hidden()


def test_who_writes_reads_again(alice: Visitor, bob: Visitor, shared: str):
    bob.write("one")
    expect(alice.messages()).to_have_count(1)
    mark_unread(alice.page, 1)
    expect(badge(alice, shared)).to_have_text("1 unread")
    alice.write("an answer")
    expect(badge(alice, shared)).to_be_hidden()
    bob.write("and another")
    expect(alice.messages()).to_have_count(3)
    expect(badge(alice, shared)).to_be_hidden()


def test_a_line_stands_before_what_is_new_until_one_leaves(alice: Visitor, bob: Visitor, elsewhere: str):
    page, line = alice.page, alice.page.locator(".new-line")
    for text in ("one", "two"):
        bob.write(text)
    expect(badge(alice, elsewhere)).to_have_text("2 unread")
    link = page.locator(f'#sidebar-lists a[href="{elsewhere}"]')
    link.click()
    expect(page.locator('.new-line + .day + .message[data-number="1"]')).to_be_visible()
    bob.write("three")
    expect(alice.messages()).to_have_count(3)
    expect(line).to_have_count(1)
    page.locator("#sidebar-lists .more-link").first.click()
    expect(page.locator("h1")).to_have_text("All rooms")
    link.click()
    expect(alice.messages()).to_have_count(3)
    expect(line).to_have_count(0)


def test_a_mention_stands_out_in_the_badge_the_title_and_the_text(alice: Visitor, bob: Visitor, elsewhere: str):
    bob.write("something")
    expect(badge(alice, elsewhere)).to_have_text("1 unread")
    bob.write("@Alice, look here, and you too, @Bob")
    expect(badge(alice, elsewhere)).to_have_text("@2 unread, you are mentioned")
    expect(alice.page).to_have_title(re.compile(r"^\(\d+, @1\) "))
    alice.page.reload()
    expect(badge(alice, elsewhere)).to_have_text("@2 unread, you are mentioned")
    alice.page.locator(f'#sidebar-lists a[href="{elsewhere}"]').click()
    expect(alice.page.locator(".mention.me")).to_have_text("@Alice")
    expect(alice.page.locator(".mention:not(.me)")).to_have_text("@Bob")
    expect(alice.page).not_to_have_title(re.compile("@"))
    expect(bob.page.locator(".mention.me")).to_have_text("@Bob")


class Group:
    """The site's group that counts mentions, which stands still until `go_on`."""

    def __init__(self, site: Site) -> None:
        self.redis = Redis(unix_socket_path=str(site.var / "redis" / "valkey.sock"))
        self.database = site.var / "db.sqlite3"
        self.write("INSERT INTO events_pause VALUES (?, 'a test', CURRENT_TIMESTAMP)")

    def stands(self) -> bool:
        """A consumer that waits for facts when it is told may yet take one."""
        consumers = self.redis.xinfo_consumers(keys.event_stream(STREAM), MENTIONS)
        return all(consumer["idle"] > 1000 * BLOCK + 100 for consumer in consumers)

    def go_on(self) -> None:
        self.write('DELETE FROM events_pause WHERE "group" = ?')

    def write(self, statement: str) -> None:
        with closing(sqlite3.connect(self.database, timeout=30)) as database, database:
            database.execute(statement, [MENTIONS])


@pytest.fixture
def group(site: Site, alice: Visitor, elsewhere: str) -> Iterator[Group]:
    found = Group(site)
    wait_until(alice.page, found.stands)
    yield found
    found.go_on()


NAMED = "@1 unread, you are mentioned"


def test_a_page_that_was_made_before_a_mention_was_counted_is_set_right(
    alice: Visitor, bob: Visitor, elsewhere: str, group: Group
):
    bob.write("@Alice, look here")
    expect(badge(alice, elsewhere)).to_have_text(NAMED)  # by the message's own frame
    alice.page.reload()
    expect(badge(alice, elsewhere)).to_have_text("1 unread")
    held: list[Route] = []
    alice.page.route("**/rooms/", lambda route: held.append(route))
    alice.page.locator("#sidebar-lists .more-link").first.click()
    wait_until(alice.page, lambda: held)
    page_without_it = held[0].fetch()
    group.go_on()
    expect(badge(alice, elsewhere)).to_have_text(NAMED)
    held[0].fulfill(response=page_without_it)
    expect(alice.page.locator("h1")).to_have_text("All rooms")
    expect(badge(alice, elsewhere)).to_have_text(NAMED)
    expect(alice.page).to_have_title(re.compile(r", @1\) "))


def test_a_mention_that_is_counted_before_the_socket_opens_is_shown(
    alice: Visitor, bob: Visitor, elsewhere: str, group: Group
):
    held: list[WebSocketRoute] = []
    alice.page.route_web_socket("**/ws/", lambda socket: held.append(socket))
    other = second_tab(alice, "/people/")
    bob.write("@Alice, look here")
    alice.page.reload()
    other.reload()
    for page in (alice.page, other):
        expect(badge_on(page, elsewhere)).to_have_text("1 unread")
    group.go_on()
    expect(badge_on(other, elsewhere)).to_have_text(NAMED)
    expect(badge(alice, elsewhere)).to_have_text("1 unread")
    held[-1].connect_to_server()
    expect(badge(alice, elsewhere)).to_have_text(NAMED)


def test_a_mark_that_is_lost_with_the_connection_does_not_end_the_reading(alice: Visitor, bob: Visitor, shared: str):
    def lose_marks(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def from_page(text: str | bytes) -> None:
            if json.loads(text)["type"] == "room.unread":
                server.close()
                socket.close(code=1011)
            else:
                server.send(text)

        socket.on_message(from_page)

    other = second_tab(alice, "/people/")
    alice.page.route_web_socket("**/ws/", lose_marks)
    alice.page.reload()
    bob.write("one")
    expect(alice.messages()).to_have_count(1)
    mark_unread(alice.page, 1)
    bob.write("two")
    expect(alice.messages()).to_have_count(2)
    expect(badge_on(other, shared)).to_be_hidden()
