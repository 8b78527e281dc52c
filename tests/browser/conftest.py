"""A real Chromium for these tests. Where none is installed they are skipped, except where REQUIRE_BROWSER=1 says that
a browser must be there: then they fail."""

import os
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from playwright.sync_api import Browser

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
    """The cookie of a person's session on the running site; each person signs in once."""
    return cache(lambda name: site.people(name)[0]["cookie"])


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
