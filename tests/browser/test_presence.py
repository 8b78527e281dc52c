"""Who is here and who is typing, in a real browser: it comes, and it goes."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Locator, expect

from .driver import Visitor, wait_until

pytestmark = pytest.mark.browser


def dot(visitor: Visitor, place: str, name: str) -> Locator:
    return visitor.page.locator(f'{place} .present[title="{name} is here"]')


@pytest.fixture
def direct(alice: Visitor, bob: Visitor) -> str:
    """The direct room of Alice and Bob, which Alice has open."""
    alice.page.goto("/people/")
    alice.page.get_by_role("button", name="Message Bob").click()
    expect(alice.page.locator(".composer")).to_be_visible()
    return alice.page.url.removeprefix(alice.url)


def test_a_dot_comes_and_goes_with_the_person(alice: Visitor, bob: Visitor, direct: str):
    expect(dot(alice, ".sidebar-foot", "Alice")).to_be_visible()
    expect(dot(alice, "#sidebar-lists", "Bob")).to_be_hidden()
    bob.page.goto("/rooms/")
    for place in ("#sidebar-lists", ".page-header"):
        expect(dot(alice, place, "Bob")).to_be_visible()
    alice.page.locator("#people-heading ~ a, .list-head a[href='/people/']").first.click()
    for place in ("#sidebar-lists", "main .rows"):
        expect(dot(alice, place, "Bob")).to_be_visible()
    bob.page.goto("about:blank")
    for place in ("#sidebar-lists", "main .rows"):
        expect(dot(alice, place, "Bob")).to_be_hidden()
    assert alice.complaints == []


def test_nothing_is_said_of_others_without_a_connection(alice: Visitor, bob: Visitor, direct: str):
    bob.page.goto("/rooms/")
    expect(dot(alice, "#sidebar-lists", "Bob")).to_be_visible()
    alice.context.set_offline(True)
    for place, name in (("#sidebar-lists", "Bob"), (".sidebar-foot", "Alice")):
        expect(dot(alice, place, name)).to_be_hidden()
    alice.context.set_offline(False)
    for place, name in (("#sidebar-lists", "Bob"), (".sidebar-foot", "Alice")):
        expect(dot(alice, place, name)).to_be_visible()


def test_a_room_says_how_many_of_its_people_are_here_and_who(alice: Visitor, bob: Visitor, shared: str):
    alice.page.reload()
    expect(alice.page.locator(".here-count")).to_have_text("2 here")
    alice.page.locator(".people-count").click()
    for name in ("Alice", "Bob"):
        expect(dot(alice, "main .rows", name)).to_be_visible()


def type_until_seen(bob: Visitor, line: Locator) -> None:
    """A socket that is still opening tells nothing yet."""

    def is_seen() -> bool:
        bob.page.locator(".composer textarea").press_sequentially("x")
        return line.inner_text() == "Bob is typing…"

    wait_until(bob.page, is_seen)


@contextmanager
def steady_height(visitor: Visitor) -> Iterator[None]:
    """Nothing of the room moves meanwhile."""
    box = visitor.page.locator(".composer-box").bounding_box()
    yield
    assert visitor.page.locator(".composer-box").bounding_box() == box


def test_who_types_is_told_until_the_message_comes(alice: Visitor, bob: Visitor, shared: str):
    line = alice.page.locator(".typing")
    with steady_height(alice):
        type_until_seen(bob, line)
        expect(bob.page.locator(".typing")).to_have_text("")
    bob.write("hello")
    expect(alice.messages()).to_have_count(1)
    expect(line).to_have_text("", timeout=1_000)


def test_who_stops_typing_is_told_of_for_some_seconds_only(alice: Visitor, bob: Visitor, shared: str):
    line = alice.page.locator(".typing")
    type_until_seen(bob, line)
    bob.page.locator(".composer textarea").fill("")
    expect(line).to_have_text("", timeout=8_000)


def test_two_who_type_are_both_named(open_browser: Callable[..., Visitor], alice: Visitor, bob: Visitor, shared: str):
    dora = open_browser("dora")
    dora.join(shared)

    line = alice.page.locator(".typing")

    def both_type() -> bool:
        for visitor in (bob, dora):
            visitor.page.locator(".composer textarea").press_sequentially("x")
        return " and " in line.inner_text()

    wait_until(alice.page, both_type)
    expect(line).to_have_text(re.compile("^(Bob and Dora|Dora and Bob) are typing…$"))
