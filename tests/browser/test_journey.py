"""From an empty installation to two people who talk, and an administrator who sees it in figures."""

import os
import re
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.site import Site

from .driver import Visitor

pytestmark = pytest.mark.browser


@pytest.fixture
def empty_site(tmp_path_factory) -> Iterator[Site]:
    """An installation that nobody has set up yet."""
    fresh = Site()
    try:
        yield fresh.start()
        fresh.stop()
    finally:
        fresh.remove()


def figures(page: Page) -> list[float]:
    """Every number that the dashboard shows in its tiles."""
    page.goto("/admin/")
    texts = page.locator(".tile .figure").all_inner_texts()
    return [float(number.replace(",", "")) for text in texts for number in re.findall(r"\d[\d,]*\.?\d*", text)]


def test_two_people_meet_talk_and_outlive_a_crash_of_the_server(browser: Browser, empty_site: Site):
    alice, bob = Visitor(browser, empty_site.url), Visitor(browser, empty_site.url)

    alice.set_up("Alice")
    expect(alice.page.get_by_role("heading", name="General", exact=True)).to_be_visible()
    before = figures(alice.page)
    bob.sign_up(alice.invite(), "Bob")
    expect(bob.page.get_by_role("heading", name="General", exact=True)).to_be_visible()

    alice.page.goto("/")
    alice.write("Hello Bob")
    bob.write("Hello Alice")
    for page in (alice.page, bob.page):
        expect(page.locator(".message .text")).to_have_text(["Hello Bob", "Hello Alice"])
        expect(page.locator(".pending")).to_have_count(0)
        page.reload()
        expect(page.locator(".message .text")).to_have_text(["Hello Bob", "Hello Alice"])

    assert figures(alice.page) != before
    assert alice.complaints + bob.complaints == []

    alice.page.goto("/")
    expect(alice.messages()).to_have_count(2)
    os.kill(empty_site.web_pid(), signal.SIGKILL)
    alice.write("Are you still there?")
    for visitor in (alice, bob):
        expect(visitor.messages().locator(".text")).to_have_text(["Hello Bob", "Hello Alice", "Are you still there?"])
        expect(visitor.page.locator(".pending")).to_have_count(0)
