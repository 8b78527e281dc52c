"""docs/protocol.md is what the socket does: every example is sent or received, and every code is named."""

import asyncio
import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from intellicolab import threads
from realtime import changes, errors, frames, presence, services
from realtime.models import Membership, Message

from .sockets import WAIT

PROTOCOL = (Path(__file__).resolve().parent.parent / "docs" / "protocol.md").read_text()
# Fields that a frame has only where there is something to say.
AT_TIMES = {"edited", "deleted", "mentions", "id", "retry_after"}


def examples(side):
    return [json.loads(text) for text in re.findall(rf"```json {side}\n(.*?)```", PROTOCOL, re.S)]


def shape(frame):
    return frozenset(frame.keys() - AT_TIMES)


@pytest.fixture
def documented():
    """{type: the sets of fields that its examples have}."""
    shapes = defaultdict(set)
    for example in examples("server"):
        shapes[example["type"]].add(shape(example))
    return shapes


def test_every_client_frame_is_documented_by_an_example_that_parses():
    kinds = {kind.__struct_config__.tag for kind in frames.ClientFrame.__args__}
    assert {frame["type"] for frame in examples("client")} == kinds
    for frame in examples("client"):
        frames.parse(json.dumps(frame))


class Ear:
    """A socket that keeps all that it hears."""

    def __init__(self, socket):
        self.socket = socket
        self.heard = []

    async def until(self, kind, found=lambda frame: True):
        async with asyncio.timeout(WAIT):
            while True:
                frame = json.loads(await self.socket.receive_from(timeout=WAIT))
                self.heard.append(frame)
                if frame["type"] == kind and found(frame):
                    return frame

    async def say(self, example, **changed):
        await self.socket.send_json_to({**example, **changed})


ANSWERS = {
    "message.send": "message.ack", "message.edit": "message.ack", "message.delete": "message.ack",
    "room.join": "room.joined", "room.resume": "room.changes", "room.read": "room.read", "room.unread": "room.read",
    "typing": "typing", "presence.ask": "presence", "ping": "pong",
}  # fmt: skip


@pytest.mark.django_db(transaction=True)
async def test_every_example_is_sent_and_all_that_comes_back_is_documented(
    people, open_socket, hub, async_redis, documented, monkeypatch, catch_up
):
    """Alice's client sends every example of the page; Bob's hears what others do to their room meanwhile."""
    monkeypatch.setattr(presence, "ROUND_SECONDS", 0.05)
    monkeypatch.setattr(presence, "LEAVE_SECONDS", 0.1)
    monkeypatch.setattr("realtime.publisher.DEADLINE", 5.0)
    alice, bob, room = people
    sender, hearer = Ear(await open_socket(alice)), Ear(await open_socket(bob))
    for ear in (sender, hearer):
        assert (await ear.socket.connect(timeout=WAIT))[0]
        await ear.until("hello")
    number = None
    for example in examples("client"):
        if example["type"] == "room.read":
            await hearer.socket.say(room, "something to read, @Alice")
            number = (await sender.until("message.new", lambda frame: frame["author"]["id"] == bob.pk))["number"]
        known = {"room": room.pk, "number": number, "version": 0}
        await sender.say(example, **{field: known[field] for field in known.keys() & example.keys()})
        answer = await sender.until(ANSWERS[example["type"]])
        number = answer.get("number") or number
    await threads.run(catch_up)
    await sender.until("room.mention")
    other = await threads.run(services.create_room, bob, "Other")
    await threads.run(services.update_room, alice, room, "Tea", "What to drink")
    await threads.run(services.join_room, alice, other)
    await sender.until("room.added")
    await sender.say({"type": "room.join", "room": other.pk})
    await sender.until("room.joined")
    await threads.run(services.leave_room, bob, room)
    await hearer.until("room.removed")
    await sender.until("room.member", lambda frame: "left" in frame)
    await hearer.socket.disconnect()
    await sender.until("presence", lambda frame: bob.pk in frame.get("went", ()))
    monkeypatch.setattr(changes, "MOST", 0)
    await sender.say({"type": "room.resume", "room": room.pk, "version": 0})
    await sender.until("room.changes", lambda frame: "reset" in frame)
    await sender.say({"type": "nonsense"})
    await sender.until("error")
    await sender.socket.disconnect()
    heard = sender.heard + hearer.heard
    assert {frame["type"] for frame in heard} == set(documented)
    for frame in heard:
        assert shape(frame) in documented[frame["type"]], frame


def test_the_example_of_a_message_is_what_is_sent(alice):
    row = Message(room_id=1, number=40, version=42, author=alice, client_id="0b9c7d0e-1", html="")
    shown = frames.message(row, frames.author(alice))
    example = next(frame for frame in examples("server") if frame["type"] == "message.new")
    assert set(shown) == set(example) - {"type"}
    assert set(shown["author"]) == set(example["author"])


@pytest.mark.django_db(transaction=True)
def test_only_the_author_is_given_what_was_typed(people, browser_of):
    alice, bob, room = people
    services.post_message(services.NewMessage(room.pk, alice.pk, "id-1", "*typed*"))
    address = f"/rooms/{room.pk}/messages/1"
    assert browser_of(alice).get(address).json() == {"text": "*typed*", "version": 2}
    assert browser_of(bob).get(address).status_code == 404
    services.make_owner(alice, Membership.objects.get(room=room, user=bob))
    services.leave_room(alice, room)
    assert browser_of(alice).get(address).status_code == 404


def test_every_error_code_of_a_frame_is_documented():
    table = PROTOCOL.partition("### Error codes")[2].partition("### Close codes")[0]
    documented = set(re.findall(r"`([a-z_]+)`", table)) - {"id", "detail", "retry_after"}
    assert documented == {
        "bad_json", "binary", "too_large", "unknown_type", "bad_field", "empty", "too_long", "unrenderable", "no_room",
        "not_member", "archived", "inactive", "busy", "unavailable", "limited", "no_message", "deleted", "not_author",
        "not_owner", "direct_room",
    }  # fmt: skip


def test_every_close_code_is_documented():
    table = PROTOCOL.partition("### Close codes")[2]
    for code in (errors.SIGNED_OUT, errors.RENEWED, errors.FLOOD, errors.LIMITED, errors.TOO_SLOW, errors.TRY_LATER):
        assert f"| {code} |" in table


def test_the_bounds_that_the_page_names_are_those_of_the_code():
    assert f"at most {changes.PAGE}" in PROTOCOL
    assert f"more than {changes.MOST:,} changes" in PROTOCOL
    assert f"fewer than {presence.LARGE_ROOM} people" in PROTOCOL
    assert f"up to {presence.MOST_NAMED} of them" in PROTOCOL
    assert f"the first {presence.MOST_ASKED:,} people" in PROTOCOL
    assert f"This is version {frames.PROTOCOL}" in PROTOCOL
