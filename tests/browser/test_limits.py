"""An administrator changes a limit, and somebody else meets it at once, is told, and goes on when it is over."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.site import Site

from .driver import Visitor, expect_growth, figure, wait_until

pytestmark = pytest.mark.browser

LIVE = 1_000  # ms: a change is live everywhere within a second


def change_policy(page: Page, name: str, limit: str, burst: str | None = None) -> None:
    page.goto("/admin/ratelimit/policy/")
    page.get_by_role("link", name=name, exact=True).click()
    page.get_by_label("Limit:").fill(limit)
    if burst is not None:
        page.get_by_label("Burst:").fill(burst)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was changed successfully")).to_be_visible()


def test_a_changed_policy_is_met_by_somebody_else_within_a_second(browser: Browser, empty_site: Site):
    alice, bob = Visitor(browser, empty_site.url), Visitor(browser, empty_site.url)
    alice.set_up("Alice")
    bob.sign_up(alice.invite(), "Bob")
    refused = figure(alice.page, "Requests refused")

    change_policy(alice.page, "authenticated", "1/min")
    bob.page.wait_for_timeout(LIVE)
    answers = [bob.page.goto("/people/") for _ in range(2)]
    assert [answer.status for answer in answers if answer][-1] == 429
    expect(bob.page.get_by_role("heading", name="A moment, please")).to_be_visible()
    count = bob.page.locator("[data-countdown] strong")
    before = count.inner_text()
    wait_until(bob.page, lambda: count.inner_text() != before)
    expect(bob.page.get_by_role("link", name="Try again")).to_have_attribute("aria-disabled", "true")

    change_policy(alice.page, "authenticated", "300/min")
    bob.page.wait_for_timeout(LIVE)
    bob.page.goto("/people/")
    expect(bob.page.locator("body.shell")).to_be_visible()
    expect_growth(alice.page, "Requests refused", refused)
    row = alice.page.locator("tr", has=alice.page.get_by_role("rowheader", name="authenticated", exact=True))
    expect(row.locator("td").nth(2)).not_to_have_text("0")
    expect(alice.page.locator("tr", has=alice.page.get_by_role("rowheader", name="Bob")).first).to_contain_text("user")
    assert alice.complaints == []
    assert [words for words in bob.complaints if "429" not in words] == []


def test_who_writes_too_fast_is_told_when_to_go_on_and_nothing_is_lost(browser: Browser, empty_site: Site):
    alice, bob = Visitor(browser, empty_site.url), Visitor(browser, empty_site.url)
    alice.set_up("Alice")
    bob.sign_up(alice.invite(), "Bob")
    change_policy(alice.page, "message.send", "1/2 s", "1")
    bob.page.wait_for_timeout(LIVE)
    bob.write("first")
    bob.write("second")
    state = bob.page.locator(".message.failed .state")
    expect(state).to_contain_text(re.compile(r"You can send again in \d s"))
    expect(state).to_contain_text("You can send again now")
    state.get_by_role("button", name="Retry").click()
    expect(bob.messages().locator(".text")).to_have_text(["first", "second"])
    assert alice.complaints + bob.complaints == []


def test_the_preview_opens_beside_the_form_and_keeps_it(browser: Browser, empty_site: Site):
    alice = Visitor(browser, empty_site.url)
    alice.set_up("Alice")
    page = alice.page
    page.goto("/admin/ratelimit/policy/add/")
    page.get_by_label("Name:").fill("new")
    page.get_by_label("Limit:").fill("1/min")
    page.wait_for_timeout(1_500)  # what has just happened is written once a second
    with alice.context.expect_page() as opened:
        page.get_by_role("button", name="Try it on the last hour").click()
    expect(opened.value.get_by_text(re.compile(r"\d+ of \d+ would have been refused"))).to_be_visible()
    expect(page.get_by_label("Name:")).to_have_value("new")
    assert alice.complaints == []
