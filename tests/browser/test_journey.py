"""From an empty installation to two people who talk, and an administrator who sees it in figures."""

import os
import signal

import pytest
from playwright.sync_api import Browser, expect

from tests.site import Site

from .driver import Visitor, expect_growth, figure

pytestmark = pytest.mark.browser


def test_two_people_meet_talk_and_outlive_a_crash_of_the_server(browser: Browser, empty_site: Site):
    alice, bob = Visitor(browser, empty_site.url), Visitor(browser, empty_site.url)

    alice.set_up("Alice")
    expect(alice.page.get_by_role("heading", name="General", exact=True)).to_be_visible()
    before = {tile: figure(alice.page, tile) for tile in ("Cache hits", "Requests allowed")}
    bob.sign_up(alice.invite(), "Bob")
    expect(bob.page.get_by_role("heading", name="General", exact=True)).to_be_visible()

    alice.page.goto("/")
    alice.write("Hello Bob")
    expect(bob.messages()).to_have_count(1)
    bob.write("Hello Alice")
    for page in (alice.page, bob.page):
        expect(page.locator(".message .text")).to_have_text(["Hello Bob", "Hello Alice"])
        expect(page.locator(".pending")).to_have_count(0)
        page.reload()
        expect(page.locator(".message .text")).to_have_text(["Hello Bob", "Hello Alice"])

    for tile, count in before.items():
        expect_growth(alice.page, tile, count)
    assert alice.complaints + bob.complaints == []

    alice.page.goto("/")
    expect(alice.messages()).to_have_count(2)
    os.kill(empty_site.web_pid(), signal.SIGKILL)
    alice.write("Are you still there?")
    for visitor in (alice, bob):
        expect(visitor.messages().locator(".text")).to_have_text(["Hello Bob", "Hello Alice", "Are you still there?"])
        expect(visitor.page.locator(".pending")).to_have_count(0)
