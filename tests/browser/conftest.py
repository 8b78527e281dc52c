"""A real Chromium for these tests. Where none is installed they are skipped, except where REQUIRE_BROWSER=1 says that
a browser must be there: then they fail."""

import os
from collections.abc import Callable, Iterator
from functools import cache
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, expect

from tests.site import Site

from .driver import Visitor, chromium, started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One a module, not a session: while it is open, Playwright's event loop runs in the thread of the tests."""
    path = chromium()
    if path is None:
        missing = "No Chromium was found: install Debian's chromium package."
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    with started(path) as running:
        yield running


@pytest.fixture(scope="session")
def sign_in(site: Site) -> Callable[[str], str]:
    """The cookie of a person's session on the running site; each signs in once, Alice and Bob in one process."""
    cookies = {person["name"]: person["cookie"] for person in site.people("alice", "bob")}
    return cache(lambda name: cookies.get(name) or site.people(name)[0]["cookie"])


@pytest.fixture
def open_browser(browser: Browser, site: Site, sign_in: Callable[[str], str]) -> Iterator[Callable[..., Visitor]]:
    """Call with a name for a person's own browser, signed in on the running site; none for a stranger's."""
    visitors: list[Visitor] = []

    def open_one(name: str | None = None, **options: object) -> Visitor:
        visitor = Visitor(browser, site.url, **options)
        visitors.append(visitor)
        if name:
            visitor.sign_in_with(sign_in(name))
        return visitor

    yield open_one
    for visitor in visitors:
        visitor.context.close()


@pytest.fixture
def alice(open_browser: Callable[..., Visitor]) -> Visitor:
    return open_browser("alice")


@pytest.fixture
def bob(open_browser: Callable[..., Visitor]) -> Visitor:
    return open_browser("bob")


@pytest.fixture
def room(alice: Visitor) -> str:
    """The path of a room of this test's own, which Alice has open."""
    alice.page.goto("/rooms/new/")
    alice.page.get_by_label("Name").fill(f"Room {uuid4().hex[:8]}")
    alice.page.get_by_role("button", name="Make the room").click()
    expect(alice.page.locator(".composer")).to_be_visible()
    return alice.page.url.removeprefix(alice.url)


@pytest.fixture
def shared(bob: Visitor, room: str) -> str:
    """That room, which Bob is in and has open, too."""
    bob.join(room)
    return room


LONG_CODE = """
from django.conf import settings
from accounts.models import User
from realtime import services
alice, bob = (User.objects.get(email=f"{{name}}@example.org") for name in ("alice", "bob"))
room = services.create_room(alice, {name!r})
services.join_room(bob, room)
WORD = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
KINDS = [
    "short", WORD * 3, "several words that fill a line and somewhat more than that " * 4, "one\\ntwo\\nthree",
    "```python\\nfor n in range(3):\\n    print(n)\\n```", "- a list\\n- of three\\n- lines",
    "> quoted\\n\\nand answered",
]
for start in range(1, {count} + 1, 100):
    numbers = range(start, min(start + 100, {count} + 1))
    services.post_messages([
        services.NewMessage(
            room.pk, (alice if n % 5 else bob).pk, f"long-{{n}}", f"line {{n}} here\\n\\n{{KINDS[n % len(KINDS)]}}"
        )
        for n in numbers
    ])
print("ROOM" + str(room.pk))
"""
LONG = 600


@pytest.fixture(scope="session")
def long_room(site: Site, sign_in: Callable[[str], str]) -> str:
    """The path of a room of Alice and Bob with LONG messages, from one line high to many, of long words and of code."""
    for name in ("alice", "bob"):
        sign_in(name)
    made = site.manage("shell", "-v", "0", "-c", LONG_CODE.format(name=f"Long {uuid4().hex[:8]}", count=LONG))
    assert made.returncode == 0, made.stderr
    return f"/rooms/{made.stdout.rpartition('ROOM')[2].strip()}/"


@pytest.fixture
def empty_site() -> Iterator[Site]:
    """An installation that nobody has set up yet, with the limits that a new one has."""
    fresh = Site(RATELIMIT="on")
    try:
        yield fresh.start()
        fresh.stop()
    finally:
        fresh.remove()
