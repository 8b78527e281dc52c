"""An export, from the question to the file, as the person sees it."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest
from playwright.sync_api import expect

from .driver import Visitor

pytestmark = pytest.mark.browser


def test_one_asks_for_an_export_and_downloads_it_when_it_is_ready(alice: Visitor, room: str):
    alice.write("to be *kept*")
    expect(alice.messages()).to_have_count(1)
    alice.page.goto(f"{room}settings/")
    alice.page.get_by_role("link", name="Export the messages").click()
    alice.page.get_by_role("button", name="Make an export").click()
    # The page gets there by itself, whether or not it has still seen the export wait or run.
    expect(alice.page.get_by_role("heading", name="Your export is ready")).to_be_visible()
    with alice.page.expect_download() as download:
        alice.page.get_by_role("link", name="Download").click()
    with ZipFile(BytesIO(Path(download.value.path()).read_bytes())) as archive:
        assert archive.namelist() == ["messages.jsonl", "messages-1.html"]
        sheet = archive.read("messages-1.html").decode()
    plain = alice.context.new_page()
    plain.set_content(sheet)
    expect(plain.locator("article em")).to_have_text("kept")
    assert alice.complaints == []


def test_without_javascript_the_page_renews_itself(open_browser: Callable[..., Visitor], room: str):
    plain = open_browser("alice", java_script_enabled=False)
    plain.page.goto(f"{room}export/")
    plain.page.get_by_role("button", name="Make an export").click()
    expect(plain.page.get_by_role("heading", name="Your export is ready")).to_be_visible()
    assert plain.complaints == []
