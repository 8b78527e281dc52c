"""Signed out from elsewhere, as the person at the other browser sees it."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from .driver import PASSWORD, Visitor

pytestmark = pytest.mark.browser

SOON = 2_000  # ms
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 "
    "Mobile/15E148 Safari/604.1"
)


@pytest.fixture
def sign_in_anew(open_browser: Callable[..., Visitor], sign_in: Callable[[str], str]) -> Callable[..., Visitor]:
    """Call for a browser of Charlie's with a session of its own, which a test may end."""
    sign_in("charlie")

    def make(**options: object) -> Visitor:
        visitor = open_browser(**options)
        visitor.page.goto("/accounts/login/")
        fill_sign_in(visitor.page)
        expect(visitor.page.locator("body.shell")).to_be_visible()
        return visitor

    return make


def fill_sign_in(page: Page) -> None:
    page.get_by_label("Email").fill("charlie@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_signed_out_from_another_browser_every_tab_goes_to_sign_in_and_back(sign_in_anew: Callable[..., Visitor]):
    lost, here = sign_in_anew(user_agent=IPHONE), sign_in_anew()
    lost.page.goto("/rooms/1/")
    lost.page.locator(".composer textarea").fill("half a thought")
    second = lost.context.new_page()
    second.goto("/people/")
    here.page.goto("/profile/")
    here.page.get_by_role("link", name="Your devices").click()
    expect(here.page.locator(".row", has_text="this device")).to_have_count(1)

    row = here.page.locator(".row", has_text="Safari on iPhone")
    row.get_by_role("button", name="Sign out").click()
    expect(lost.page).to_have_url(re.compile(r"/accounts/login/\?next=%2Frooms%2F1%2F$"), timeout=SOON)
    expect(second).to_have_url(re.compile(r"/accounts/login/\?next=%2Fpeople%2F$"), timeout=SOON)
    expect(here.page.get_by_text("That device is signed out.")).to_be_visible()
    expect(row).to_have_count(0)

    fill_sign_in(lost.page)
    expect(lost.page.locator(".composer textarea")).to_have_value("half a thought")


@pytest.mark.slow
def test_signing_out_here_takes_the_other_tabs_along(sign_in_anew: Callable[..., Visitor]):
    here = sign_in_anew()
    second = here.context.new_page()
    second.goto("/people/")
    here.page.locator(".sidebar .menu summary").click()
    here.page.get_by_role("button", name="Sign out").click()
    expect(second).to_have_url(re.compile(r"/accounts/login/\?next=%2Fpeople%2F$"), timeout=SOON)
    expect(here.page).to_have_url(re.compile(r"/accounts/login/$"))


def test_a_new_password_leaves_the_other_tabs_of_this_browser_where_they_are(
    sign_in_anew: Callable[..., Visitor], open_browser: Callable[..., Visitor]
):
    here, lost = sign_in_anew(), sign_in_anew()
    second = here.context.new_page()
    second.goto("/rooms/1/")
    expect(second.locator(".composer")).to_be_visible()
    here.page.goto("/accounts/password/change/")
    for field, words in zip(here.page.locator("main input[type=password]").all(), [PASSWORD] * 3, strict=True):
        field.fill(words)
    here.page.locator("main form button").last.click()
    expect(lost.page).to_have_url(re.compile("/accounts/login/"), timeout=SOON)
    second.locator(".composer textarea").fill("still here")
    second.keyboard.press("Enter")
    expect(second.locator(".message .text").last).to_have_text("still here")
    expect(second.locator(".pending")).to_have_count(0)


@pytest.mark.slow
def test_all_others_can_be_signed_out_without_javascript(
    sign_in_anew: Callable[..., Visitor], open_browser: Callable[..., Visitor]
):
    lost, here = sign_in_anew(), sign_in_anew()
    plain = open_browser(java_script_enabled=False)
    plain.context.add_cookies(here.context.cookies())  # type: ignore[arg-type]
    plain.page.goto("/profile/devices/")
    plain.page.get_by_text("Sign out all other devices").click()
    plain.page.get_by_role("button", name=re.compile("Sign out [0-9]+ other device")).click()
    expect(plain.page.locator(".row")).to_have_count(1)
    expect(lost.page).to_have_url(re.compile("/accounts/login/"), timeout=SOON)
