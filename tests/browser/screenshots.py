"""Walks every page at a phone's and a desktop's size, light and dark, and writes what it sees as PNG files.

usage: python -m tests.browser.screenshots FOLDER [--log IRC_LOG]
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.site import Site

from .driver import PASSWORD, Visitor, chromium, started

SIZES = {"phone": {"width": 360, "height": 780}, "desktop": {"width": 1280, "height": 800}}
LONG_NAME = "Wolfeschlegelsteinhausenbergerdorff von der Unaussprechlichen-Hohenwarte"
SAMPLES = [
    "Good morning! The **release** is out: https://example.org/notes/2026/11?from=chat&to=all#top",
    "x < y && y > z, and R&D says :-) <3 \\o/",
    "Steps:\n\n1. fetch\n2. build\n   - with `make`\n   - or by hand\n3. ship",
    "> The map is not the territory.\n\nQuite so.",
    "```python\ndef greet(name: str = 'you') -> str:\n    # a comment that explains why\n"
    '    return f"Hello, {name}! You are number {41 + 1} in a line that is far too long for any narrow screen"\n```',
    "| room | people |\n| --- | --- |\n| General | 12 |\n| Support | 3 |",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2,
    "# A heading\n\nAnd a paragraph that is long enough to show where lines end on a wide screen, because text that "
    "runs across the whole window is hard to read, which is why it stops at seventy-five characters.",
]

DEVICES = [
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 "
    "Mobile Safari/537.36",
    "Something else",
]


# A page that everybody meets the limit of.
TIGHT = """
from ratelimit.models import Policy
Policy.objects.create(name="tight", mode="enforce", path="/tight", identity="address", limit="1/hour", algorithm=1)
"""

# Jobs in each of the lists, with and without what is long; those of the queue "bulk" wait, for it is paused.
JOBS = """
import time
from datetime import timedelta
from django.utils import timezone
from intellicolab.jobs import figures, operations
from intellicolab.jobs.worker import queues
from tests import job_tasks as tasks
operations.pause("default", "bulk")
bulk, default = queues()
for number in range(60):
    tasks.say.using(queue_name="bulk", priority=number % 3).enqueue(f"Reminder {number} " + "and so on " * (number % 9))
for hours in (0.1, 1, 30):
    tasks.add.using(run_after=timezone.now() + timedelta(hours=hours)).enqueue(hours, two="x" * 300)
tasks.fail_slowly.enqueue()
for text in ("The printer is on fire", "Donaudampfschifffahrtsgesellschaft" * 8, "Never mind"):
    tasks.fail.enqueue(text)
running = tasks.advance.enqueue()
held = tasks.hold.enqueue()
until = time.monotonic() + 30
while len(figures.dead("default")) < 3 or len(figures.running(default)) < 2 or not figures.retrying(default):
    assert time.monotonic() < until
    time.sleep(0.1)
print("JOBS", figures.dead("default")[1].id, running.id)
"""


@dataclass
class Walk:
    """Pages to look at: (name, address), signed in or not."""

    visitor: Visitor
    other: Visitor
    signed_out: list[tuple[str, str]]
    signed_in: list[tuple[str, str]]


def fill(site: Site, browser: Browser, log: Path | None) -> Walk:
    alice = Visitor(browser, site.url)
    alice.set_up("Alice")
    invitation = alice.invite()
    bob = Visitor(browser, site.url)
    bob.sign_up(alice.invite(), "Bob")
    for user_agent in DEVICES:
        sign_in(Visitor(browser, site.url, user_agent=user_agent), "alice")
    alice.page.goto("/")
    talk(alice, bob)
    for name, topic in (("Support", "Questions and answers"), (LONG_NAME[:70], LONG_NAME * 2)):
        make_room(alice, name, topic)
    empty = alice.page.url
    bob.enter("Support")
    for question in ("Is anybody here?", "The printer is on fire.", "Never mind."):
        bob.write(question)
    expect(bob.messages()).to_have_count(3)
    alice.page.goto("/people/")
    alice.page.get_by_role("button", name="Message Bob").click()
    direct = alice.page.url
    revised = revise(alice, bob)
    alice.page.goto(direct)
    pages = [
        ("room", "/rooms/1/"),
        ("room-empty", empty),
        ("room-direct", direct),
        ("room-revised", revised),
        ("room-settings", "/rooms/1/settings/"),
        ("room-export", "/rooms/1/export/"),
        ("room-new", "/rooms/new/"),
        ("directory", "/rooms/"),
        ("people", "/people/"),
        ("person", "/people/2/"),
        ("profile", "/profile/"),
        ("devices", "/profile/devices/"),
        ("invitations", "/invitations/"),
        ("no-such-room", "/rooms/999/"),
        ("not-found", "/no/such/page"),
        ("admin", "/admin/"),
        ("events", "/admin/events/"),
        ("letters", "/admin/events/deadletter/"),
        *job_pages(site),
        ("policies", "/admin/ratelimit/policy/"),
        ("policy", "/admin/ratelimit/policy/1/change/"),
        ("exemption", "/admin/ratelimit/exemption/add/"),
    ]
    site.manage("shell", "-v", "0", "-c", TIGHT)
    if log is not None:
        result = site.manage("import_chat", "--format", "irc", "--room", "Ubuntu", str(log))
        assert result.returncode == 0, result.stderr
        alice.enter("Ubuntu")
        pages.append(("room-imported", alice.page.url))
    return Walk(
        alice,
        bob,
        [
            ("sign-in", "/accounts/login/"),
            ("invite", invitation),
            ("reset", "/accounts/password/reset/"),
            ("limited", "/tight"),
        ],
        pages,
    )


def job_pages(site: Site) -> list[tuple[str, str]]:
    made = site.manage("shell", "-v", "0", "-c", JOBS)
    assert made.returncode == 0, made.stderr
    dead, running = made.stdout.rpartition("JOBS ")[2].split()
    backend = "/admin/jobs/in/default"
    lists = [(f"jobs-{name}", f"{backend}/queue/default/{name}/") for name in ("running", "scheduled", "retrying")]
    return [
        ("jobs", "/admin/jobs/"),
        ("jobs-waiting", f"{backend}/queue/bulk/waiting/"),
        *lists,
        ("jobs-dead", f"{backend}/dead/"),
        ("jobs-all", f"{backend}/dead/discard/"),
        ("job-dead", f"{backend}/job/{dead}/"),
        ("job-running", f"{backend}/job/{running}/"),
        ("job-cancel", f"{backend}/job/{running}/cancel/"),
        ("job-unknown", f"{backend}/job/unknown/"),
    ]


def sign_in(visitor: Visitor, name: str) -> None:
    visitor.page.goto("/accounts/login/")
    visitor.page.get_by_label("Email").fill(f"{name}@example.org")
    visitor.page.get_by_label("Password").fill(PASSWORD)
    visitor.page.get_by_role("button", name="Sign in").click()
    expect(visitor.page.locator("body.shell")).to_be_visible()
    visitor.context.close()


def talk(alice: Visitor, bob: Visitor) -> None:
    bob.write("Hello everybody, I am Bob.")
    for text in SAMPLES:
        alice.write(text)
    expect(alice.messages()).to_have_count(len(SAMPLES) + 1)
    bob.write("Thanks, that is **all** I need.")
    expect(bob.page.locator(".pending")).to_have_count(0)


def revise(alice: Visitor, bob: Visitor) -> str:
    """A room with a message that was edited, one that was deleted, names, and a line above what is new; its address."""
    make_room(alice, "Tea", "What to drink")
    bob.enter("Tea")
    for text in ("Green or black?", "Forget it", "Something that I should not have said"):
        bob.write(text)
    bob.write("@Alice, what would you like? @Bob wants green.")
    expect(bob.messages()).to_have_count(4)
    choose(bob, 2, "Edit")
    bob.page.locator(".editor textarea").fill("Or coffee?")
    bob.page.keyboard.press("Enter")
    expect(bob.page.locator(".edited")).to_have_count(1)
    choose(bob, 3, "Delete")
    bob.page.locator(".question").get_by_role("button", name="Delete").click()
    expect(bob.page.locator(".tombstone")).to_have_count(1)
    return bob.page.url


def choose(visitor: Visitor, number: int, choice: str) -> None:
    row = visitor.page.locator(f'.message[data-number="{number}"]')
    row.hover()
    row.get_by_role("button", name="What to do with this message").click()
    visitor.page.get_by_role("menuitem", name=choice).click()


def make_room(visitor: Visitor, name: str, topic: str) -> None:
    visitor.page.goto("/rooms/new/")
    visitor.page.get_by_label("Name").fill(name)
    visitor.page.get_by_label("Topic (optional)").fill(topic[:250])
    visitor.page.get_by_role("button", name="Make the room").click()
    expect(visitor.page.locator(".composer")).to_be_visible()


def photograph(browser: Browser, site: Site, walk: Walk, folder: Path) -> list[str]:
    """One set of pictures a size and colour scheme; returns what the pages complained about."""
    state = walk.visitor.context.storage_state()
    complaints = []
    visitor = Visitor(browser, site.url)
    visitor.page.wait_for_timeout(1_000)  # until the new policy is live
    visitor.page.goto("/tight")
    visitor.context.close()
    for size, viewport in SIZES.items():
        for scheme in ("light", "dark"):
            look = {"viewport": viewport, "color_scheme": scheme, "timezone_id": "Europe/Berlin"}
            outside = Visitor(browser, site.url, **look)
            inside = Visitor(browser, site.url, storage_state=state, **look)
            for visitor, pages in ((outside, walk.signed_out), (inside, walk.signed_in)):
                for name, address in pages:
                    visitor.page.goto(address)
                    picture(visitor, folder / f"{name}-{size}-{scheme}.png")
            preview(inside, folder / f"preview-{size}-{scheme}.png")
            moments(inside, walk.other, folder, f"{size}-{scheme}.png")
            if size == "phone":
                inside.page.goto("/rooms/1/")
                inside.page.locator(".drawer-open").click()
                picture(inside, folder / f"drawer-{size}-{scheme}.png")
            complaints += outside.complaints + inside.complaints
            outside.context.close()
            inside.context.close()
    return complaints


def moments(alice: Visitor, bob: Visitor, folder: Path, name: str) -> None:
    """One is named elsewhere, what is new there, who types, a message's menu, editor and question, a removal."""
    alice.page.goto("/people/")
    bob.write("One more thing, @Alice: with sugar?")
    expect(alice.page.locator(".badge.mentioned")).to_have_count(1)
    if alice.page.locator(".drawer-open").is_visible():
        alice.page.locator(".drawer-open").click()
    picture(alice, folder / f"moment-named-{name}")
    alice.page.goto(bob.page.url)
    alice.write("Black, please")
    last = alice.messages().last
    expect(last).to_contain_text("Black, please")
    number = int(last.get_attribute("data-number") or 0)
    bob.page.locator(".composer textarea").press_sequentially("x", delay=50)
    alice.page.locator(".message").nth(1).hover()
    alice.page.wait_for_timeout(1_000)
    picture(alice, folder / f"moment-typing-{name}")
    choose(alice, number, "Edit")
    alice.page.locator(".editor textarea").fill("Black, please.\n\nWith milk.")
    picture(alice, folder / f"moment-editor-{name}")
    alice.page.keyboard.press("Escape")
    choose(alice, number, "Delete")
    picture(alice, folder / f"moment-question-{name}")
    alice.page.keyboard.press("Escape")
    alice.page.locator(".message").last.hover()
    alice.page.locator(".message").last.get_by_role("button", name="What to do").click()
    picture(alice, folder / f"moment-menu-{name}")
    alice.page.goto(f"{bob.page.url}settings/")
    alice.page.get_by_text("Remove", exact=True).click()
    picture(alice, folder / f"moment-remove-{name}")


def preview(visitor: Visitor, path: Path) -> None:
    visitor.page.goto("/admin/ratelimit/policy/1/change/")
    visitor.page.get_by_label("Limit:").fill("2/min")
    with visitor.context.expect_page() as opened:
        visitor.page.get_by_role("button", name="Try it on the last hour").click()
    opened.value.wait_for_load_state("networkidle")
    opened.value.screenshot(path=path)
    opened.value.close()


def picture(visitor: Visitor, path: Path) -> None:
    visitor.page.wait_for_load_state("networkidle")
    visitor.page.screenshot(path=path, caret="initial", animations="disabled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    path = chromium()
    if path is None:
        sys.exit("No Chromium was found: install Debian's chromium package.")
    options.folder.mkdir(parents=True, exist_ok=True)
    site = Site(RATELIMIT="on")
    try:
        site.start()
        with started(path) as browser:
            complaints = photograph(browser, site, fill(site, browser, options.log), options.folder)
        site.stop()
    finally:
        site.remove()
    complaints = [words for words in complaints if "status of 4" not in words]  # some of the pages are meant to be
    print("\n".join(complaints) or "No page complained.")


if __name__ == "__main__":
    main()
