"""A long room: one scrolls from its newest message to its oldest, and nothing jumps on the way."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from .conftest import LONG
from .driver import Visitor

pytestmark = pytest.mark.browser

# Scrolls up step by step. After each step the row in the middle of the view is followed over some frames, in which
# pages come in and nothing is scrolled: it has to stay where it is. Resolves to what was seen; `furthest` in pixels.
SCROLL_UP = """
async (oldest) => {
    const timeline = document.querySelector("#timeline");
    const frame = () => new Promise(requestAnimationFrame);
    const place = (row) => row.getBoundingClientRect().top;
    const middle = () => {
        const box = timeline.getBoundingClientRect();
        return document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2).closest(".message");
    };
    const rows = () => timeline.querySelectorAll(".message").length;
    const seen = { furthest: 0, grewWhileWatched: 0, steps: 0 };
    const end = performance.now() + 30_000;
    while (performance.now() < end) {
        timeline.scrollBy(0, -1200);
        seen.steps += 1;
        const row = middle();
        const [start, had] = [row && place(row), rows()];
        for (let n = 0; n < 4; n += 1) {
            await frame();
            seen.furthest = Math.max(seen.furthest, row ? Math.abs(place(row) - start) : 0);
        }
        seen.grewWhileWatched += row && rows() > had ? 1 : 0;
        const first = timeline.querySelector(".message");
        if (first.dataset.number === oldest && first.getBoundingClientRect().top > 0) {
            break;
        }
    }
    return seen;
}
"""


def test_no_row_jumps_while_older_ones_load_up_to_the_oldest(alice: Visitor, long_room: str):
    alice.page.goto(long_room)
    expect(alice.messages().last).to_contain_text(f"line {LONG} here")
    expect(alice.messages().last).to_be_in_viewport()
    seen = alice.page.evaluate(SCROLL_UP, "1")
    assert seen["grewWhileWatched"] >= 5, seen  # or there was nothing to jump
    assert seen["furthest"] <= 2, seen
    expect(alice.messages().first).to_be_in_viewport()
    numbers = alice.messages().evaluate_all("rows => rows.map((row) => Number(row.dataset.number))")
    assert numbers == list(range(1, len(numbers) + 1))
    expect(alice.page.locator(".beginning")).to_be_visible()
    assert alice.complaints == []


def test_what_is_said_meanwhile_moves_nothing_and_is_counted(
    open_browser: Callable[..., Visitor], alice: Visitor, room: str
):
    for n in range(12):
        alice.write(f"line {n}\n\n```\n" + "code\n" * 5 + "```")
        expect(alice.messages().last).to_contain_text(f"line {n}")
    bob = open_browser("bob")
    bob.page.goto(room)
    bob.page.locator("main form button").click()
    expect(bob.page.locator(".composer")).to_be_visible()
    place = alice.messages().nth(3)
    place.scroll_into_view_if_needed()
    top = place.bounding_box()["y"]
    for text in ("new one", "new two"):
        bob.write(text)
    pill = alice.page.locator(".pill")
    expect(pill).to_have_text("2 new messages")
    assert abs(place.bounding_box()["y"] - top) < 2
    pill.click()
    expect(alice.messages().last).to_be_in_viewport()
    expect(pill).to_be_hidden()
