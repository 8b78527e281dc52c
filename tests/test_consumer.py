"""The socket as a client sees it, over the real channel layer and database."""

import asyncio

import pytest

from intellicolab import threads
from realtime import consumer, errors, services
from realtime.models import Message, Room
from realtime.services import NewMessage

from .sockets import HOST, WAIT

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_message_reaches_everyone_in_the_room_and_its_sender_an_ack(people, open_socket, hub):
    alice, bob, room = people
    first, second = await open_socket(alice), await open_socket(bob)
    hello = await first.hello()
    assert hello == {
        "type": "hello", "protocol": 1, "user": alice.pk, "rooms": {str(room.pk): 1}, "reads": {str(room.pk): [0, 0]},
        "mentions": {}, "max_length": 8000,
    }  # fmt: skip
    await second.hello()
    await first.say(room, "hello *bob*")
    assert await first.frame("message.ack") == {
        "type": "message.ack", "id": "id-1", "room": room.pk, "number": 1, "version": 2,
    }  # fmt: skip
    for socket in (first, second):
        frame = await socket.frame("message.new")
        assert frame["html"] == "<p>hello <em>bob</em></p>"
        assert (frame["author"]["name"], frame["number"], frame["id"]) == ("Alice", 1, "id-1")
        await socket.disconnect()


async def test_a_resend_is_acknowledged_with_the_first_place(people, open_socket, hub):
    alice, _, room = people
    socket = await open_socket(alice)
    await socket.hello()
    await socket.say(room, "once")
    first = await socket.frame("message.ack")
    await socket.say(room, "once")
    assert await socket.frame("message.ack") == first
    assert await threads.run(Message.objects.count) == 1
    await socket.disconnect()


async def test_a_room_that_is_not_ones_own_is_refused_and_not_heard(people, open_socket, hub):
    alice, bob, _ = people
    secret = await threads.run(services.create_room, alice, "Secret", Room.Kind.PRIVATE)
    mine, others = await open_socket(alice), await open_socket(bob)
    await mine.hello()
    assert str(secret.pk) not in (await others.hello())["rooms"]
    await others.say(secret, "let me in")
    error = await others.frame("error")
    assert (error["id"], error["code"]) == ("id-1", "not_member")
    for kind in ("room.join", "room.resume"):
        await others.send_json_to({"type": kind, "room": secret.pk, "version": 0})
        assert (await others.frame("error"))["code"] == "no_room"
    await mine.say(secret, "only for me")
    await mine.frame("message.new")
    assert await others.hears_nothing(0.2)
    await mine.disconnect()
    await others.disconnect()


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("not json", "bad_json"),
        ("[1, 2]", "bad_field"),
        ('{"no": "type"}', "unknown_type"),
        ('{"type": "bogus", oops', "unknown_type"),
        ('{"type": "ping", "x": ' + "[" * 3000 + "]" * 3000 + "}", "bad_json"),
        ('{"type": "message.send", "id": "a", "room": 1e400, "text": "x"}', "bad_field"),
        ('{"type": "message.send", "id": "a\\n", "room": 1, "text": "x"}', "bad_field"),
        ('{"type": "ping", "x": "' + "\N{GRINNING FACE}" * 20_000 + '"}', "too_large"),
        ('{"type": "message.shout"}', "unknown_type"),
        ('{"type": "message.send", "room": 1, "text": "x"}', "bad_field"),
        ('{"type": "message.send", "id": "", "room": 1, "text": "x"}', "bad_field"),
        ('{"type": "message.send", "id": "a\\u0000", "room": 1, "text": "x"}', "bad_field"),
        ('{"type": "message.send", "id": "a", "room": "1", "text": "x"}', "bad_field"),
        ('{"type": "message.send", "id": "a", "room": -1, "text": "x"}', "bad_field"),
        ('{"type": "message.send", "id": "a", "room": 1, "text": null}', "bad_field"),
        ('{"type": "message.send", "id": "' + "x" * 65 + '", "room": 1, "text": "x"}', "bad_field"),
        ('{"type": "ping", "x": "' + "x" * 70_000 + '"}', "too_large"),
        (b"\x00\x01", "binary"),
    ],
)
async def test_a_bad_frame_gets_an_error_and_the_socket_stays_open(people, open_socket, hub, frame, code):
    socket = await open_socket(people[0])
    await socket.hello()
    await socket.send_to(**({"bytes_data": frame} if isinstance(frame, bytes) else {"text_data": frame}))
    assert (await socket.frame("error"))["code"] == code
    await socket.send_json_to({"type": "ping"})
    await socket.frame("pong")
    await socket.disconnect()


async def test_an_error_carries_the_id_of_a_frame_whose_other_fields_are_bad(people, open_socket, hub):
    socket = await open_socket(people[0])
    await socket.hello()
    await socket.send_json_to({"type": "message.send", "id": "mine", "room": 1})
    assert (await socket.frame("error"))["id"] == "mine"
    await socket.disconnect()


@pytest.mark.parametrize(("text", "code"), [("  \n ", "empty"), ("x" * 8001, "too_long")])
async def test_a_text_that_cannot_be_stored_is_refused(people, open_socket, hub, text, code):
    alice, _, room = people
    socket = await open_socket(alice)
    await socket.hello()
    await socket.say(room, text)
    assert (await socket.frame("error"))["code"] == code
    await socket.disconnect()


async def test_a_flood_of_bad_frames_closes_the_socket(people, open_socket, hub):
    socket = await open_socket(people[0])
    await socket.hello()
    for _ in range(consumer.BAD_FRAMES + 1):
        await socket.send_to(text_data="x")
    assert await socket.closed_with() == errors.FLOOD


async def test_who_is_not_signed_in_is_told_so(people, open_socket, hub):
    socket = await open_socket(None)
    assert (await socket.connect(timeout=WAIT))[0]
    assert await socket.closed_with() == errors.SIGNED_OUT


async def test_frames_of_a_socket_that_is_not_signed_in_do_nothing(people, open_socket, hub, caplog):
    socket = await open_socket(None)
    assert (await socket.connect(timeout=WAIT))[0]
    for frame in ({"type": "room.join", "room": 1}, {"type": "message.send", "id": "a", "room": 1, "text": "x"}):
        await socket.send_json_to(frame)
    assert await socket.closed_with() == errors.SIGNED_OUT
    assert await socket.hears_nothing(0.2)
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_deactivated_person_is_not_signed_in(people, open_socket, hub):
    alice = people[0]
    socket = await open_socket(alice)
    alice.is_active = False
    await threads.run(alice.save)
    assert (await socket.connect(timeout=WAIT))[0]
    assert await socket.closed_with() == errors.SIGNED_OUT


@pytest.mark.parametrize("origin", ["https://evil.example", f"http://{HOST}:8001", "null", "http://[", ""])
async def test_a_page_of_another_site_cannot_open_a_socket(people, open_socket, hub, origin):
    accepted, _ = await (await open_socket(people[0], origin=origin)).connect(timeout=WAIT)
    assert not accepted


async def test_while_the_session_store_is_away_the_client_is_told_to_try_later(people, open_socket, hub, redis_server):
    socket = await open_socket(people[0])
    await asyncio.to_thread(redis_server.kill)
    assert (await socket.connect(timeout=WAIT))[0]
    assert await socket.closed_with() == errors.TRY_LATER


async def test_resume_tells_what_changed(people, open_socket, hub):
    alice, _, room = people
    batch = [NewMessage(room.pk, alice.pk, f"id-{n}", f"text {n}") for n in range(5)]
    await threads.run(services.post_messages, batch)
    socket = await open_socket(alice)
    assert (await socket.hello())["rooms"] == {str(room.pk): 6}
    await socket.send_json_to({"type": "room.resume", "room": room.pk, "version": 4})
    changes = await socket.frame("room.changes")
    assert [row["version"] for row in changes["changes"]] == [5, 6]
    assert (changes["upto"], changes["more"]) == (6, False)
    await socket.disconnect()


async def test_who_enters_a_room_hears_it_at_once(people, open_socket, hub, make_user):
    alice, _, room = people
    charlie = await threads.run(make_user, "charlie")
    socket = await open_socket(charlie)
    await socket.hello()
    await threads.run(services.join_room, charlie, room)
    assert (await socket.frame("room.added"))["room"] == room.pk
    await socket.send_json_to({"type": "room.join", "room": room.pk})
    assert await socket.frame("room.joined") == {"type": "room.joined", "room": room.pk, "version": 2}
    await threads.run(services.post_message, NewMessage(room.pk, alice.pk, "id", "welcome"))
    assert (await socket.frame("message.new"))["html"] == "<p>welcome</p>"
    await socket.disconnect()


async def test_who_left_a_room_is_told_on_every_device_and_hears_no_more_of_it(people, open_socket, hub):
    alice, bob, room = people
    staying, first, second = [await open_socket(user) for user in (alice, bob, bob)]
    for socket in (staying, first, second):
        await socket.hello()
    await threads.run(services.leave_room, bob, room)
    for socket in (first, second):
        assert (await socket.frame("room.removed"))["room"] == room.pk
    await staying.say(room, "he is gone")
    await staying.frame("message.new")
    assert await first.hears_nothing(0.2)
    assert await second.hears_nothing(0.01)
    for socket in (staying, first, second):
        await socket.disconnect()


async def test_what_redis_lost_of_leaving_and_entering_is_found_in_the_database(people, open_socket, hub, redis_server):
    alice, bob, room = people
    socket = await open_socket(bob)
    await socket.hello()
    await asyncio.to_thread(redis_server.kill)
    await threads.run(services.leave_room, bob, room)
    other = await threads.run(services.create_room, alice, "Other")
    await threads.run(services.join_room, bob, other)
    assert (await socket.frame("room.removed"))["room"] == room.pk
    assert (await socket.frame("room.added"))["room"] == other.pk
    await threads.run(services.post_message, NewMessage(room.pk, alice.pk, "id-1", "he is gone"))
    await threads.run(services.post_message, NewMessage(other.pk, alice.pk, "id-2", "he is here"))
    assert (await socket.frame("message.new"))["html"] == "<p>he is here</p>"
    await socket.disconnect()


async def test_a_person_who_is_deactivated_is_signed_out_of_open_sockets(people, open_socket, hub):
    _, bob, _ = people
    socket = await open_socket(bob)
    await socket.hello()
    bob.is_active = False
    await threads.run(bob.save)
    assert await socket.closed_with() == errors.SIGNED_OUT


async def test_messages_arrive_while_redis_is_away_and_nothing_is_doubled_after(
    people, open_socket, hub, redis_server, caplog
):
    alice, bob, room = people
    first, second = await open_socket(alice), await open_socket(bob)
    await first.hello()
    await second.hello()
    await asyncio.to_thread(redis_server.kill)
    await first.say(room, "in the dark")
    assert (await first.frame("message.ack"))["number"] == 1
    assert (await second.frame("message.new"))["html"] == "<p>in the dark</p>"
    redis_server.start()  # not in a thread: the server ends with the thread that started it
    await first.say(room, "back again", "id-2")
    assert (await second.frame("message.new"))["number"] == 2
    assert await second.hears_nothing(0.3)
    assert not [record for record in caplog.records if record.exc_info]  # an outage is a line, not a traceback a second
    await first.disconnect()
    await second.disconnect()


async def test_the_hub_subscribes_once_a_room_and_leaves_with_the_last_socket(people, open_socket, hub):
    alice, bob, room = people
    sockets = [await open_socket(user) for user in (alice, bob, alice)]
    for socket in sockets:
        await socket.hello()
    topic = f"room.{room.pk}"
    assert len(hub.topics.get(topic).outlets) == 3
    for socket in sockets:
        assert hub.topics.get(topic) is not None
        await socket.disconnect()
    assert len(hub.topics) == 0
