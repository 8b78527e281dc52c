"""A room of 1,721 imported lines: one scrolls to the first and back, and the page holds a bounded stretch of it."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from playwright.sync_api import APIResponse, Locator, Page, Route, expect

from tests.site import Site

from .driver import Visitor, wait_until
from .test_feed import DELETE_CODE, number_of
from .test_unread import badge

pytestmark = pytest.mark.browser

LINES = 1_721
MOST_ROWS = 500  # as in timeline.js
SAID = ["yes", "what does dmesg say " * 3, "see http://example.org/wiki/Sound?action=show", "I would reinstall " * 16]
JOIN_CODE = """
from accounts.models import User
from realtime import services
from realtime.models import Room
room = Room.objects.get(name={name!r})
for name in ("alice", "bob"):
    services.join_room(User.objects.get(email=f"{{name}}@example.org"), room)
print("ROOM" + str(room.pk))
"""

# Scrolls some steps by `distance` pixels, until message `target` is whole in the view. After each step the row in the
# middle is followed over some frames, in which pages come in and rows are let go: it has to stay where it is. Resolves
# to what was seen: `rows` at most in the page, `furthest` in pixels, and the text of each number.
SCROLL = """
async ([distance, target]) => {
    const timeline = document.querySelector("#timeline");
    const frame = () => new Promise(requestAnimationFrame);
    const place = (row) => row.getBoundingClientRect().bottom; // at its top a name may come or go
    const middle = () => {
        const box = timeline.getBoundingClientRect();
        return document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2).closest(".message");
    };
    const seen = { rows: 0, furthest: 0, holes: [], texts: {}, reached: false };
    const look = () => {
        const rows = [...timeline.querySelectorAll('.message:not([data-number=""])')];
        seen.rows = Math.max(seen.rows, rows.length);
        rows.forEach((row, index) => {
            const number = Number(row.dataset.number);
            seen.texts[number] = row.querySelector(".text").textContent.trim();
            if (index && number !== Number(rows[index - 1].dataset.number) + 1) {
                seen.holes.push(number);
            }
        });
    };
    for (let step = 0; step < 10 && !seen.reached; step += 1) {
        timeline.scrollBy(0, distance);
        const row = middle();
        const start = row && place(row);
        for (let n = 0; n < 4; n += 1) {
            await frame();
            seen.furthest = Math.max(seen.furthest, row?.isConnected ? Math.abs(place(row) - start) : 0);
            look();
        }
        const [box, goal] = [timeline, timeline.querySelector(`[data-number="${target}"]`)].map((element) =>
            element?.getBoundingClientRect());
        seen.reached = goal !== undefined && goal.top >= box.top && goal.bottom <= box.bottom;
    }
    return seen;
}
"""


@pytest.fixture(scope="session")
def imported_room(site: Site, sign_in: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a room of Alice and Bob that a log was imported into, in a day and the night after it."""
    for name in ("alice", "bob"):
        sign_in(name)
    log = tmp_path_factory.mktemp("log") / "channel-2006-06-01.txt"
    log.write_text("".join(log_line(n) for n in range(1, LINES + 1)))
    name = f"Imported {uuid4().hex[:8]}"
    done = site.manage("import_chat", "--format", "irc", "--room", name, str(log))
    assert done.returncode == 0, done.stderr
    made = site.manage("shell", "-v", "0", "-c", JOIN_CODE.format(name=name))
    assert made.returncode == 0, made.stderr
    return f"/rooms/{made.stdout.rpartition('ROOM')[2].strip()}/"


def log_line(n: int) -> str:
    minute = (11 * 60 + n // 2) % (24 * 60)
    clock = f"[{minute // 60:02}:{minute % 60:02}]"
    nick = f"nick{n // 3 % 40}"
    return f"{clock}  * {nick} waves, {n}\n" if n % 31 == 0 else f"{clock} <{nick}> {n}: {SAID[n % len(SAID)]}\n"


def numbers(visitor: Visitor) -> list[int]:
    return visitor.messages().evaluate_all("rows => rows.map((row) => Number(row.dataset.number))")


def newest(visitor: Visitor, room: str) -> int:
    """The room's last number, as its page says it."""
    visitor.page.goto(room)
    return int(visitor.page.locator(".room").get_attribute("data-last") or "")


class Scroll:
    """Scrolls a visitor's room, and keeps what was seen on the way."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.texts: dict[int, str] = {}
        self.most = 0

    def to(self, target: int, distance: int) -> Iterator[None]:
        """Yields every few steps: what the test does then happens in the middle of it."""
        for _ in range(60):
            seen = self.visitor.page.evaluate(SCROLL, [distance, target])
            assert seen["holes"] == []
            assert seen["rows"] <= MOST_ROWS
            assert seen["furthest"] <= 2, seen["furthest"]
            self.most = max(self.most, seen["rows"])
            self._keep({int(number): text for number, text in seen["texts"].items()})
            if seen["reached"]:
                return
            yield
        pytest.fail(f"Message {target} was not reached.")

    def _keep(self, texts: dict[int, str]) -> None:
        changed = {n for n, text in texts.items() if self.texts.get(n, text) != text}
        assert not changed
        self.texts |= texts


def test_to_the_first_message_and_back_while_people_talk(alice: Visitor, bob: Visitor, imported_room: str):
    last = newest(alice, imported_room)
    bob.page.goto(imported_room)
    up, down, said = Scroll(alice), Scroll(alice), 0
    for _ in up.to(1, -1200):
        said += 1
        bob.write(f"live {said}")
    assert up.most > MOST_ROWS - 100  # or nothing was let go
    assert set(up.texts) >= set(range(1, last + 1))
    shown = numbers(alice)
    assert (shown[0], shown[-1] < last) == (1, True)
    expect(alice.page.locator(".beginning")).to_be_visible()
    expect(alice.page.locator(".pill")).to_have_text(f"{said} new messages")
    for _ in down.to(last, 1200):
        said += 1
        bob.write(f"live {said}")
    expect(bob.messages().last).to_have_attribute("data-number", str(last + said))
    for _ in down.to(last + said, 1200):
        pass
    expect(alice.messages().last).to_be_in_viewport()
    expect(alice.page.locator(".pill")).to_be_hidden()
    assert set(down.texts) == set(range(1, last + said + 1))
    assert [down.texts[last + n] for n in range(1, said + 1)] == [f"live {n}" for n in range(1, said + 1)]
    assert alice.complaints == []


def again(page: Page, scroll: Callable[[], None], until: Locator) -> None:
    """Some 35 pages come one after the other, which takes a busy machine longer than any one thing may."""
    for _ in range(1_000):
        scroll()
        if until.count():
            return
        page.wait_for_timeout(50)
    pytest.fail("It was not reached.")


def test_keys_and_wheel_lead_to_the_first_message_and_back(alice: Visitor, imported_room: str):
    last, page = newest(alice, imported_room), alice.page
    page.locator("#timeline").focus()
    first = page.locator('.message[data-number="1"]')
    again(page, lambda: page.keyboard.press("Home"), first)
    assert len(numbers(alice)) <= MOST_ROWS
    page.keyboard.press("End")
    expect(alice.messages().last).to_have_attribute("data-number", str(last))
    expect(alice.messages().last).to_be_in_viewport()
    page.locator("#timeline").hover()
    again(page, lambda: page.mouse.wheel(0, -4000), first)
    expect(page.locator(f'.message[data-number="{last}"]')).to_have_count(0)
    again(page, lambda: page.mouse.wheel(0, 4000), page.locator(f'.message[data-number="{last}"]'))
    shown = numbers(alice)
    assert len(shown) <= MOST_ROWS
    assert shown == list(range(shown[0], last + 1))


def to_first(visitor: Visitor, room: str) -> None:
    """At the first message, by a link to it: the newest are not loaded."""
    visitor.page.goto(f"{room}?before=51")
    visitor.page.locator("#timeline").evaluate("element => element.scrollBy(0, -element.scrollHeight)")
    expect(visitor.messages().first).to_be_in_viewport()
    expect(visitor.page.locator(".newer")).not_to_have_attribute("hidden", "")


def delete(site: Site, room: str, number: int) -> None:
    made = site.manage("shell", "-v", "0", "-c", DELETE_CODE.format(room=number_of(room), number=number))
    assert made.returncode == 0, made.stderr


def test_a_deletion_shows_at_once_or_when_its_message_is_loaded_again(alice: Visitor, imported_room: str, site: Site):
    last, page = newest(alice, imported_room), alice.page
    outside = page.locator(f'.message[data-number="{last - 30}"]')
    expect(outside).to_have_count(1)
    expect(outside).not_to_contain_text("This message was deleted.")
    to_first(alice, imported_room)
    expect(outside).to_have_count(0)
    for number in (last - 30, 40):
        delete(site, imported_room, number)
    expect(page.locator('.message[data-number="40"]')).to_contain_text("This message was deleted.")
    assert numbers(alice) == list(range(1, numbers(alice)[-1] + 1))
    expect(outside).to_have_count(0)
    page.locator(".pill").click()
    expect(outside).to_contain_text("This message was deleted.")


def test_what_one_writes_while_far_up_shows_at_the_newest(alice: Visitor, imported_room: str):
    last = newest(alice, imported_room)
    to_first(alice, imported_room)
    alice.write("from far up")
    own = alice.page.locator(f'.message[data-number="{last + 1}"]')
    expect(own).to_contain_text("from far up")
    expect(own).to_be_in_viewport()
    expect(alice.page.locator(".pill")).to_be_hidden()
    expect(alice.page.locator(".pending")).to_have_count(0)
    shown = numbers(alice)
    assert shown == list(range(shown[0], last + 2))
    assert shown[0] > last - 60  # the newest page, and not all that lies between


def test_what_one_writes_far_up_and_offline_is_seen_and_sent_later(alice: Visitor, imported_room: str):
    last = newest(alice, imported_room)
    to_first(alice, imported_room)
    alice.context.set_offline(True)
    alice.write("from a tunnel")
    expect(alice.page.locator(".newer ~ .pending .text")).to_have_text("from a tunnel")
    expect(alice.page.locator(".pending .text")).to_be_in_viewport()
    alice.context.set_offline(False)
    expect(alice.page.locator(f'.message[data-number="{last + 1}"]')).to_contain_text("from a tunnel")
    expect(alice.page.locator(".pending")).to_have_count(0)
    expect(alice.page.get_by_text("from a tunnel")).to_have_count(1)


def test_a_newer_page_that_fails_is_offered_again(alice: Visitor, imported_room: str):
    last = newest(alice, imported_room)
    alice.page.route("**/messages?after=*", lambda route: route.fulfill(status=503, body=""))
    alice.page.goto(f"{imported_room}?before={last - 20}")
    edge = alice.page.locator(".newer")
    expect(edge).to_contain_text("Newer messages could not be loaded. The server could not answer.")
    alice.page.unroute("**/messages?after=*")
    edge.get_by_role("button", name="Try again").click()
    expect(alice.messages().last).to_have_attribute("data-number", str(last))
    expect(edge).to_be_hidden()
    shown = numbers(alice)
    assert shown == list(range(shown[0], last + 1))


def test_what_happens_while_the_last_page_is_on_its_way_is_not_lost(
    alice: Visitor, bob: Visitor, imported_room: str, site: Site
):
    """The page is made, then a message comes and one that is on the page is deleted, then the page arrives."""
    last = newest(alice, imported_room)
    held: list[tuple[Route, APIResponse]] = []
    alice.page.route("**/messages?after=*", lambda route: held.append((route, route.fetch())), times=1)
    alice.page.goto(f"{imported_room}?before={last - 10}")
    wait_until(alice.page, lambda: held)
    bob.page.goto(imported_room)
    bob.write("said meanwhile")
    expect(alice.page.locator(".pill")).to_have_text("1 new message")
    expect(badge(alice, imported_room)).to_have_text("1 unread")
    delete(site, imported_room, last - 1)
    route, page = held.pop()
    assert [message["number"] for message in page.json()["messages"]] == list(range(last - 10, last + 1))
    assert page.json()["more"] is False
    route.fulfill(response=page)
    expect(alice.messages().last).to_contain_text("said meanwhile")
    expect(alice.page.locator(f'.message[data-number="{last - 1}"]')).to_contain_text("This message was deleted.")
    shown = numbers(alice)
    assert shown == list(range(shown[0], last + 2))
    expect(badge(alice, imported_room)).to_have_text("1 unread")  # it is below the view
    alice.page.locator(".pill").click()
    expect(badge(alice, imported_room)).to_be_hidden()


def test_what_is_not_loaded_counts_as_unread(alice: Visitor, bob: Visitor, imported_room: str):
    newest(alice, imported_room)
    bob.page.goto(imported_room)
    to_first(alice, imported_room)
    for text in ("unseen one", "unseen two"):
        bob.write(text)
    expect(alice.page.locator(".pill")).to_have_text("2 new messages")
    expect(badge(alice, imported_room)).to_have_text("2 unread")
    alice.page.locator(".pill").click()
    expect(alice.messages().last).to_contain_text("unseen two")
    expect(badge(alice, imported_room)).to_be_hidden()
