"""Messages that are edited and deleted, in a real browser, as others see it too."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from .driver import Visitor, refuse_frames

pytestmark = pytest.mark.browser


def choose(visitor: Visitor, row: Locator, choice: str) -> None:
    row.hover()
    row.get_by_role("button", name="What to do with this message").click()
    visitor.page.get_by_role("menuitem", name=choice).click()


def choices(visitor: Visitor, row: Locator) -> list[str]:
    row.hover()
    row.get_by_role("button", name="What to do with this message").click()
    found = visitor.page.get_by_role("menuitem").all_inner_texts()
    visitor.page.keyboard.press("Escape")
    return found


def message(visitor: Visitor, number: int) -> Locator:
    return visitor.page.locator(f'.message[data-number="{number}"]')


def test_an_edit_is_seen_by_the_other_and_starts_from_what_was_typed(alice: Visitor, bob: Visitor, shared: str):
    alice.write("first **draft**")
    expect(message(bob, 1).locator(".text")).to_have_text("first draft")
    choose(alice, message(alice, 1), "Edit")
    field = message(alice, 1).get_by_role("textbox")
    expect(field).to_have_value("first **draft**")
    expect(field).to_be_focused()
    field.fill("second draft")
    alice.page.keyboard.press("Enter")
    for visitor in (alice, bob):
        expect(message(visitor, 1).locator(".text")).to_have_text("second draft(edited)")
    expect(alice.page.locator(".composer textarea")).to_be_focused()
    bob.page.reload()
    expect(message(bob, 1).locator(".text")).to_have_text("second draft(edited)")
    expect(bob.page.locator("#announcer")).to_have_text("")
    assert alice.complaints == []


def test_escape_leaves_a_message_as_it_was(alice: Visitor, room: str):
    alice.write("as it was")
    expect(message(alice, 1)).to_be_visible()
    alice.page.keyboard.press("ArrowUp")
    field = message(alice, 1).get_by_role("textbox")
    expect(field).to_have_value("as it was")
    field.fill("never mind")
    alice.page.keyboard.press("Escape")
    expect(field).to_have_count(0)
    expect(message(alice, 1).locator(".text")).to_have_text("as it was")
    alice.page.keyboard.press("ArrowUp")
    expect(field).to_have_value("as it was")


def test_up_edits_ones_own_last_message(alice: Visitor, bob: Visitor, shared: str):
    alice.write("mine, older")
    alice.write("mine, newest")
    expect(alice.messages()).to_have_count(2)
    bob.write("of another")
    expect(alice.messages()).to_have_count(3)
    alice.page.keyboard.press("ArrowUp")
    expect(message(alice, 2).get_by_role("textbox")).to_have_value("mine, newest")


def test_a_deletion_asks_first_and_is_seen_by_the_other(alice: Visitor, bob: Visitor, shared: str):
    alice.write("a secret")
    expect(message(bob, 1)).to_contain_text("a secret")
    choose(alice, message(alice, 1), "Delete")
    message(alice, 1).get_by_role("button", name="Keep it").click()
    expect(message(bob, 1)).to_contain_text("a secret")
    choose(alice, message(alice, 1), "Delete")
    message(alice, 1).get_by_role("button", name="Delete", exact=True).click()
    for visitor in (alice, bob):
        expect(message(visitor, 1).locator(".text")).to_have_text("This message was deleted.")


def test_what_one_may_do_with_a_message(alice: Visitor, bob: Visitor, shared: str):
    """Alice owns the room."""
    alice.write("of Alice")
    expect(message(bob, 1)).to_be_visible()
    bob.write("of Bob")
    expect(message(alice, 2)).to_be_visible()
    assert choices(alice, message(alice, 1)) == ["Edit", "Delete", "Mark unread from here"]
    assert choices(alice, message(alice, 2)) == ["Delete", "Mark unread from here"]
    assert choices(bob, message(bob, 1)) == ["Mark unread from here"]
    choose(alice, message(alice, 2), "Delete")
    message(alice, 2).get_by_role("button", name="Delete", exact=True).click()
    expect(message(bob, 2).locator(".text")).to_have_text("This message was deleted.")
    assert choices(bob, message(bob, 2)) == ["Mark unread from here"]


def test_the_menu_is_used_with_the_keyboard(alice: Visitor, room: str):
    alice.write("hello")
    expect(message(alice, 1)).to_be_visible()
    alice.page.keyboard.press("Shift+Tab")
    expect(message(alice, 1).get_by_role("button")).to_be_focused()
    alice.page.keyboard.press("Enter")
    expect(alice.page.get_by_role("menuitem", name="Edit")).to_be_focused()
    alice.page.keyboard.press("Escape")
    expect(message(alice, 1).get_by_role("button")).to_be_focused()
    alice.page.keyboard.press("Enter")
    alice.page.keyboard.press("ArrowDown")
    alice.page.keyboard.press("Enter")
    expect(message(alice, 1).get_by_role("button", name="Delete", exact=True)).to_be_focused()


def test_an_edit_without_a_connection_waits_for_it(alice: Visitor, bob: Visitor, shared: str):
    alice.write("before the tunnel")
    for visitor in (alice, bob):
        expect(message(visitor, 1)).to_be_visible()
    alice.page.keyboard.press("ArrowUp")
    field = message(alice, 1).get_by_role("textbox")
    expect(field).to_have_value("before the tunnel")
    alice.context.set_offline(True)
    expect(alice.page.locator("#connection")).to_be_visible()
    field.fill("in the tunnel")
    alice.page.keyboard.press("Enter")
    expect(message(alice, 1)).to_contain_text("There is no connection. This is done when it is back.")
    expect(field).to_have_value("in the tunnel")
    alice.context.set_offline(False)
    for visitor in (alice, bob):
        expect(message(visitor, 1).locator(".text")).to_have_text("in the tunnel(edited)")
    expect(field).to_have_count(0)


def test_a_refused_edit_says_why_and_loses_nothing(alice: Visitor, room: str):
    refuse_frames(alice.page, "message.edit")
    alice.write("hello")
    expect(alice.messages()).to_have_count(1)
    alice.page.keyboard.press("ArrowUp")
    field = message(alice, 1).get_by_role("textbox")
    expect(field).to_have_value("hello")
    field.fill("a better hello")
    alice.page.keyboard.press("Enter")
    expect(message(alice, 1)).to_contain_text("Too busy.")
    expect(field).to_have_value("a better hello")
    alice.page.reload()
    expect(message(alice, 1)).to_be_visible()
    alice.page.keyboard.press("ArrowUp")
    expect(field).to_have_value("a better hello")


def test_an_editor_stays_while_its_message_is_changed_elsewhere(
    open_browser: Callable[..., Visitor], alice: Visitor, room: str
):
    alice.write("hello")
    expect(message(alice, 1)).to_be_visible()
    other = open_browser("alice").page
    other.goto(room)
    alice.page.keyboard.press("ArrowUp")
    field = message(alice, 1).get_by_role("textbox")
    expect(field).to_have_value("hello")
    field.fill("from here")
    there = other.locator('.message[data-number="1"]')
    expect(there).to_be_visible()
    other.locator(".composer textarea").press("ArrowUp")
    expect(there.get_by_role("textbox")).to_have_value("hello")
    there.get_by_role("textbox").fill("from there")
    there.get_by_role("textbox").press("Enter")
    expect(alice.page.locator('.message[data-version="2"] textarea')).to_have_value("from here")
    expect(field).to_be_focused()
    alice.page.keyboard.press("Enter")
    expect(there.locator(".text")).to_have_text("from here(edited)")


def test_a_finger_finds_the_menu_too(open_browser: Callable[..., Visitor], room: str):
    phone = {"viewport": {"width": 360, "height": 780}, "has_touch": True, "is_mobile": True}
    alice = open_browser("alice", **phone)
    alice.page.goto(room)
    for text in ("first", "second"):
        alice.page.locator(".composer textarea").fill(text)
        alice.page.get_by_role("button", name="Send").click()
    expect(alice.messages()).to_have_count(2)
    message(alice, 2).locator(".text").tap()
    button = message(alice, 2).get_by_role("button")
    box = button.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 40
    button.tap()
    alice.page.get_by_role("menuitem", name="Edit").tap()
    expect(message(alice, 2).get_by_role("textbox")).to_have_value("second")
