"""A room in a real browser: what is typed, sent, received and scrolled."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import WebSocketRoute, expect

from .driver import Visitor, refuse_frames

pytestmark = pytest.mark.browser


def test_text_is_shown_as_it_was_typed(alice: Visitor, room: str):
    alice.write("<b>x</b> < y && R&D :-) http://example.org/?a=1&b=2#c")
    text = alice.messages().first.locator(".text")
    expect(text).to_have_text("<b>x</b> < y && R&D :-) http://example.org/?a=1&b=2#c")
    expect(text.get_by_role("link")).to_have_attribute("href", "http://example.org/?a=1&b=2#c")
    expect(text.locator("b")).to_have_count(0)


def test_code_is_coloured_and_can_be_copied(alice: Visitor, room: str):
    alice.context.grant_permissions(["clipboard-read", "clipboard-write"])
    alice.write("```python\nreturn 1 < 2\n```")
    block = alice.messages().first.locator(".code-frame")
    expect(block.locator("span.hl-k")).to_have_text("return")
    block.hover()
    block.get_by_role("button", name="Copy").click()
    expect(block.get_by_role("button", name="Copied")).to_be_visible()
    assert alice.page.evaluate("navigator.clipboard.readText()").strip() == "return 1 < 2"


def test_messages_reach_the_other_at_once_and_stay(alice: Visitor, bob: Visitor, room: str):
    bob.join(room)
    alice.write("one")
    expect(bob.messages()).to_have_count(1)
    bob.write("two")
    expect(alice.messages()).to_have_count(2)
    alice.write("three")
    for visitor in (alice, bob):
        expect(visitor.messages().locator(".text")).to_have_text(["one", "two", "three"])
        expect(visitor.page.locator(".pending")).to_have_count(0)


def test_messages_of_one_person_are_grouped_under_one_name(alice: Visitor, bob: Visitor, room: str):
    bob.join(room)
    for visitor, text in ((alice, "a"), (alice, "b"), (bob, "c"), (alice, "d")):
        visitor.write(text)
        expect(alice.messages().last).to_contain_text(text)
    heads = [text.split("\n")[-1] for text in alice.page.locator(".message.head").all_inner_texts()]
    assert heads == ["a", "c", "d"]
    expect(alice.page.locator(".day")).to_have_count(1)


def test_what_is_written_offline_is_kept_and_sent_once(alice: Visitor, bob: Visitor, room: str):
    bob.join(room)
    alice.context.set_offline(True)
    alice.write("written in a tunnel")
    expect(alice.page.locator(".pending .text")).to_have_text("written in a tunnel")
    expect(alice.page.locator("#connection")).to_contain_text("Offline: what you type is kept")
    alice.context.set_offline(False)
    expect(alice.page.locator(".pending")).to_have_count(0)
    expect(alice.page.locator("#connection")).to_be_hidden()
    for visitor in (alice, bob):
        expect(visitor.messages().locator(".text")).to_have_text(["written in a tunnel"])
    alice.page.reload()
    expect(alice.messages().locator(".text")).to_have_text(["written in a tunnel"])


def test_a_message_survives_a_reload_before_it_was_sent(alice: Visitor, room: str):
    blocked = []
    alice.page.route_web_socket("**/ws/", lambda socket: blocked.append(socket))  # connects to nothing
    alice.page.reload()
    alice.write("not lost")
    expect(alice.page.locator(".pending .text")).to_have_text("not lost")
    other = alice.context.new_page()  # the same browser, without the blocked socket
    other.goto(room)
    expect(other.locator('.message:not([data-number=""]) .text')).to_have_text("not lost")
    assert blocked


def test_a_refused_message_says_why_and_can_be_given_up(alice: Visitor, room: str):
    refuse_frames(alice.page, "message.send")
    alice.write("nobody wants this")
    failed = alice.page.locator(".message.failed")
    expect(failed).to_contain_text("Not sent. Too busy.")
    failed.get_by_role("button", name="Retry").click()
    expect(failed).to_contain_text("Not sent. Too busy.")
    failed.get_by_role("button", name="Discard").click()
    expect(alice.page.locator(".message")).to_have_count(0)
    alice.page.reload()
    expect(alice.page.locator(".message")).to_have_count(0)


def test_an_ended_session_says_so_and_keeps_what_was_typed(alice: Visitor, room: str):
    alice.page.route_web_socket("**/ws/", lambda socket: socket.close(code=4001))
    alice.page.reload()
    bar = alice.page.locator("#connection")
    expect(bar).to_contain_text("Your session has ended")
    expect(bar.get_by_role("link", name="Sign in")).to_have_attribute("href", re.compile("/accounts/login/[?]next="))
    alice.write("kept")
    expect(alice.page.locator(".pending .text")).to_have_text("kept")


def test_rooms_change_without_a_reload_and_back_works(alice: Visitor, room: str):
    page = alice.page
    name = page.locator("h1").inner_text()
    page.evaluate("window.sameDocument = true")
    page.get_by_role("link", name="General", exact=True).click()
    expect(page).to_have_title(re.compile(r"^(\(.*\) )?General · IntelliColab$"))
    alice.write("said in General")
    expect(alice.messages().last).to_contain_text("said in General")
    page.go_back()
    expect(page).to_have_title(re.compile(rf"^(\(.*\) )?{name} · IntelliColab$"))
    assert page.url.endswith(room)
    expect(page.locator(f'.room-link[href="{room}"]')).to_have_attribute("aria-current", "page")
    alice.write("said after coming back")
    expect(alice.messages().last).to_contain_text("said after coming back")
    assert page.evaluate("window.sameDocument")


def test_a_draft_waits_for_its_writer(alice: Visitor, room: str):
    alice.page.locator(".composer textarea").fill("half a thought")
    alice.page.get_by_role("link", name="General", exact=True).click()
    expect(alice.page.locator(".composer textarea")).to_have_value("")
    alice.page.goto(room)
    expect(alice.page.locator(".composer textarea")).to_have_value("half a thought")


def test_a_draft_survives_a_full_disk_and_the_newest_one_counts(alice: Visitor, room: str):
    """Where the browser refuses to keep more, what it kept before must not come back in place of newer text."""
    page, draft = alice.page, alice.page.locator(".composer textarea")

    def leave_and_come_back():
        page.get_by_role("link", name="General", exact=True).click()
        expect(draft).to_have_value("")
        page.go_back()

    draft.fill("kept on disk")
    page.evaluate("""() => {
        window.setItem = Storage.prototype.setItem;
        Storage.prototype.setItem = () => { throw new DOMException("Full", "QuotaExceededError"); };
    }""")
    draft.fill("kept in memory")
    leave_and_come_back()
    expect(draft).to_have_value("kept in memory")
    page.evaluate("() => { Storage.prototype.setItem = window.setItem; }")
    draft.fill("kept on disk again")
    leave_and_come_back()
    expect(draft).to_have_value("kept on disk again")


def test_unsent_text_and_unsent_messages_survive_a_reload_and_are_sent_once(alice: Visitor, bob: Visitor, shared: str):
    page, sockets = alice.page, []

    def hold_back(socket: WebSocketRoute) -> None:
        """The connection opens, but what is sent on the first one never arrives."""
        server = socket.connect_to_server()
        sockets.append(socket)
        if len(sockets) == 1:
            socket.on_message(lambda _text: None)
            server.on_message(socket.send)

    page.route_web_socket("**/ws/", hold_back)
    page.reload()
    alice.write("on its way")
    page.locator(".composer textarea").fill("half a thought")
    expect(page.locator(".pending .text")).to_have_text("on its way")
    page.reload()
    expect(page.locator(".composer textarea")).to_have_value("half a thought")
    expect(page.locator(".pending")).to_have_count(0)
    for _ in range(2):
        for visitor in (alice, bob):
            expect(visitor.messages().locator(".text")).to_have_text(["on its way"])
        page.reload()


def test_a_room_is_renamed_and_archived_under_the_eyes_of_its_people(alice: Visitor, bob: Visitor, shared: str):
    page, name = bob.page, f"Tea {shared.strip('/').split('/')[-1]}"
    page.locator(".composer textarea").fill("half a thought")
    alice.page.goto(f"{shared}settings/")
    alice.page.get_by_label("Name", exact=True).fill(name)
    alice.page.get_by_role("button", name="Save").click()
    for place in (page.locator("h1"), page.locator(f'.room-link[href="{shared}"] > span').first):
        expect(place).to_have_text(name)
    expect(page).to_have_title(re.compile(rf"^(\(.*\) )?{name} · IntelliColab$"))
    expect(page.get_by_placeholder(f"Message to {name}")).to_have_value("half a thought")

    alice.page.locator("summary", has_text="Archive the room").click()
    alice.page.get_by_role("button", name=f"Archive {name}").click()
    expect(page.locator(".archived-note")).to_contain_text("What you had typed stays here")
    expect(page.locator(f'.room-link[href="{shared}"] .tag')).to_have_text("archived")
    expect(page.locator(".composer textarea")).to_have_value("half a thought")
    expect(page.get_by_role("button", name="Send")).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.locator(".message")).to_have_count(0)
    assert alice.complaints == []


def test_a_person_added_to_a_room_finds_it_at_once(alice: Visitor, bob: Visitor, room: str):
    bob.page.goto("/rooms/")
    expect(bob.page.locator(f'.room-link[href="{room}"]')).to_have_count(0)
    alice.page.goto(f"{room}settings/")
    alice.page.get_by_label("Person").select_option(label="Bob")
    alice.page.get_by_role("button", name="Add to the room").click()
    bob.page.locator(f'.room-link[href="{room}"]').click()
    expect(bob.page.locator(".composer")).to_be_visible()
    alice.page.goto(room)
    alice.write("welcome")
    expect(bob.messages().locator(".text")).to_have_text(["welcome"])


def test_everything_can_be_done_with_the_keyboard(alice: Visitor, room: str):
    page = alice.page
    page.goto("/rooms/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the main part")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".menu > summary")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Your profile")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Your profile")).to_be_hidden()
    link = page.locator(f'.room-link[href="{room}"]')
    for _ in range(40):
        page.keyboard.press("Tab")
        if link.evaluate("element => element === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page.locator(".composer textarea")).to_be_focused()
    page.keyboard.type("first line")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second line")
    page.keyboard.press("Enter")
    expect(alice.messages().last).to_contain_text("first line\nsecond line", use_inner_text=True)
    expect(page.locator(".composer textarea")).to_be_focused()


def test_it_works_without_javascript(open_browser: Callable[..., Visitor], alice: Visitor, room: str):
    plain = open_browser("alice", java_script_enabled=False)
    plain.page.goto(room)
    plain.page.locator(".composer textarea").fill("by form")
    plain.page.get_by_role("button", name="Send").click()
    expect(plain.messages().locator(".text")).to_have_text(["by form"])
    expect(alice.messages().locator(".text")).to_have_text(["by form"])
