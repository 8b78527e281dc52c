"""Chromium for the browser tests and the screenshots: which one, how it is started, and what a page did wrong."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, Page, WebSocketRoute, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
# A test browser talks to the site under test and to nobody else.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT = 15_000  # ms; the machine may be running the rest of the suite meanwhile
PASSWORD = "correct horse battery"


def chromium() -> str | None:
    """The path of an installed Chromium, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def started(path: str) -> Iterator[Browser]:
    expect.set_options(timeout=TIMEOUT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


def wait_until(page: Page, happened: Callable[[], object]) -> None:
    """For what a test sees and no locator does: requests held back, sockets opened. The page goes on meanwhile."""
    deadline = time.monotonic() + TIMEOUT / 1000
    while not happened():
        assert time.monotonic() < deadline, "It did not happen in time."
        page.wait_for_timeout(20)


def refuse_frames(page: Page, kind: str) -> None:
    """From the next load on, the server seems too busy for each frame of that type."""

    def between(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def from_page(text: str | bytes) -> None:
            frame = json.loads(text)
            if frame["type"] == kind:
                socket.send(json.dumps({"type": "error", "code": "busy", "detail": "Too busy.", "id": frame["id"]}))
            else:
                server.send(text)

        socket.on_message(from_page)

    page.route_web_socket("**/ws/", between)
    page.reload()


def figure(page: Page, tile: str) -> int:
    """The exact number on one of the dashboard's tiles."""
    page.goto("/admin/")
    exact = page.locator(".tile", has=page.get_by_role("heading", name=tile, exact=True)).locator(".figure")
    return int((exact.get_attribute("title") or "").split(" ")[0].replace(",", ""))


def expect_growth(page: Page, tile: str, before: int) -> None:
    """Counts reach Redis once a second, so the newest may not be on the first look."""
    wait_until(page, lambda: figure(page, tile) > before)


class Visitor:
    """One person's browser: a context of its own, and a list of everything its pages complained about."""

    def __init__(self, browser: Browser, url: str, **options: object) -> None:
        self.url = url
        self.complaints: list[str] = []
        self.context: BrowserContext = browser.new_context(base_url=url, **options)  # type: ignore[arg-type]
        self.context.set_default_timeout(TIMEOUT)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind} on {self.page.url}: {text}")

    def sign_in_with(self, cookie: str) -> None:
        name, _, value = cookie.partition("=")
        self.context.add_cookies([{"name": name, "value": value, "url": self.url}])

    def set_up(self, name: str) -> None:
        """The first visit: makes the administrator."""
        self.page.goto("/")
        self._fill_account(name)

    def sign_up(self, link: str, name: str) -> None:
        """Follow an invitation link and make an account."""
        self.page.goto(link)
        self._fill_account(name)

    def _fill_account(self, name: str) -> None:
        page = self.page
        page.get_by_label("Name", exact=False).first.fill(name)
        page.get_by_label("Email", exact=False).first.fill(f"{name.lower()}@example.org")
        for field in page.locator("input[type=password]").all():
            field.fill(PASSWORD)
        page.locator("main form button").last.click()
        expect(page.locator("body.shell")).to_be_visible()

    def invite(self) -> str:
        """Make an invitation link as an administrator."""
        self.page.goto("/invitations/")
        self.page.locator("main form button").first.click()
        return self.page.locator("main .copy-line input, main input[readonly]").first.input_value()

    def write(self, text: str) -> None:
        self.page.locator(".composer textarea").fill(text)
        self.page.keyboard.press("Enter")

    def enter(self, room: str) -> None:
        """Open a room from the directory, joining it first where one is not in it."""
        self.page.goto("/rooms/")
        row = self.page.locator(".row", has_text=room)
        row.get_by_role("link", name="Open").or_(row.get_by_role("button", name="Join")).click()
        expect(self.page.locator(".timeline")).to_be_visible()

    def join(self, room: str) -> None:
        """Follow a link to a room that one is not in yet."""
        self.page.goto(room)
        self.page.locator("main form button").click()
        expect(self.page.locator(".composer")).to_be_visible()

    def messages(self):
        """The stored messages on the page, pending ones left out."""
        return self.page.locator('.message:not([data-number=""])')
