"""What is unread, in a real browser: badges in the sidebar, live, and gone for good when it was read."""

import pytest
from playwright.sync_api import Locator, expect

from .driver import Visitor, wait_until

pytestmark = pytest.mark.browser


def join(visitor: Visitor, room: str) -> None:
    visitor.page.goto(room)
    visitor.page.locator("main form button").click()
    expect(visitor.page.locator(".composer")).to_be_visible()


def badge(visitor: Visitor, room: str) -> Locator:
    return visitor.page.locator(f'#sidebar-lists a[href="{room}"] .badge')


@pytest.fixture
def elsewhere(alice: Visitor, bob: Visitor, room: str) -> str:
    """Alice looks at the list of rooms, Bob is in her room; the path of that."""
    join(bob, room)
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
    join(bob, room)
    bob.write("hello")
    expect(alice.messages()).to_have_count(1)
    expect(badge(alice, room)).to_be_hidden()

    def is_read_elsewhere() -> bool:
        alice.page.goto("/people/")
        return badge(alice, room).is_hidden()

    wait_until(alice.page, is_read_elsewhere)  # the frame that tells it is on its way


def test_what_is_below_the_screen_is_unread(alice: Visitor, bob: Visitor, room: str):
    join(bob, room)
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
