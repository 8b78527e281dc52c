"""Every page: nothing to complain about, and nothing wider than a phone."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from .driver import Visitor

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 360, "height": 780}, "has_touch": True, "is_mobile": True}
PAGES = [
    "/",
    "/rooms/",
    "/rooms/new/",
    "/rooms/1/",
    "/rooms/1/settings/",
    "/people/",
    "/people/1/",
    "/profile/",
    "/profile/devices/",
    "/invitations/",
]
WORD = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_complains_or_scrolls_sideways_on_a_phone(open_browser: Callable[..., Visitor], scheme: str):
    alice = open_browser("alice", color_scheme=scheme, **PHONE)
    alice.page.goto("/rooms/1/")
    alice.page.locator(".composer textarea").fill(f"{WORD}\n\n```\n{WORD}\n```")
    alice.page.get_by_role("button", name="Send").click()
    expect(alice.messages().last.locator("pre")).to_be_visible()
    for address in PAGES:
        alice.page.goto(address)
        wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not alice.page.evaluate(wider), address
        body = alice.page.locator(".page-body, .timeline").first
        assert not body.evaluate("element => element.scrollWidth > element.clientWidth"), address
    assert alice.complaints == []


def test_the_admins_figures_scroll_in_their_tables_and_not_the_page(open_browser: Callable[..., Visitor]):
    alice = open_browser("alice", **PHONE)
    for address in ("/admin/", "/admin/events/"):
        alice.page.goto(address)
        expect(alice.page.locator(".verdict")).to_be_visible()
        assert not alice.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    assert alice.complaints == []


def test_the_sidebar_is_a_drawer_on_a_phone(open_browser: Callable[..., Visitor]):
    alice = open_browser("alice", **PHONE)
    page = alice.page
    page.goto("/rooms/")
    sidebar = page.locator("#sidebar")
    expect(sidebar).to_be_hidden()
    page.get_by_role("link", name="Rooms and menu").click()
    expect(sidebar).to_be_visible()
    page.keyboard.press("Escape")
    expect(sidebar).to_be_hidden()
    expect(page.get_by_role("link", name="Rooms and menu")).to_be_focused()
    page.get_by_role("link", name="Rooms and menu").click()
    sidebar.get_by_role("link", name="General", exact=True).click()
    expect(page.locator(".composer")).to_be_visible()
    expect(sidebar).to_be_hidden()


def test_the_drawer_opens_without_javascript(open_browser: Callable[..., Visitor]):
    alice = open_browser("alice", java_script_enabled=False, **PHONE)
    alice.page.goto("/rooms/")
    alice.page.get_by_role("link", name="Rooms and menu").click()
    expect(alice.page.locator("#sidebar")).to_be_visible()


def test_hit_areas_are_large_enough_for_fingers(open_browser: Callable[..., Visitor]):
    alice = open_browser("alice", **PHONE)
    alice.page.goto("/rooms/1/")
    alice.page.get_by_role("link", name="Rooms and menu").click()
    small = alice.page.locator("body").evaluate(
        """body => [...body.querySelectorAll("#sidebar a, #sidebar summary, .composer button, .page-header a")]
            .map((element) => [element.textContent.trim() || element.ariaLabel, element.getBoundingClientRect()])
            .filter(([, box]) => box.width && (box.height < 40 || box.width < 40)).map(([name]) => name)"""
    )
    assert small == []


def test_a_page_that_is_not_there_says_so_in_the_layout(open_browser: Callable[..., Visitor]):
    alice = open_browser("alice")
    answer = alice.page.goto("/rooms/999999/")
    assert answer is not None
    assert answer.status == 404
    expect(alice.page.get_by_role("heading", name="No such room")).to_be_visible()
    expect(alice.page.get_by_role("link", name="Back to your rooms")).to_be_visible()
