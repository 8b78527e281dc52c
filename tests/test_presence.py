"""Who is here, and who is typing: told to those it concerns, in time, and never in a large room."""

import asyncio
import json

import pytest

from intellicolab import threads
from intellicolab.redis import keys
from intellicolab.redis.client import Role, client
from realtime import presence, services, typists
from realtime.models import Membership
from realtime.presence import Presence

pytestmark = [pytest.mark.topology, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(presence, "ROUND_SECONDS", 0.05)
    monkeypatch.setattr(presence, "LEAVE_SECONDS", 0.2)
    monkeypatch.setattr("realtime.publisher.DEADLINE", 5.0)
    typists._told.clear()


async def news(socket, **wanted):
    """Read on until this person is told to have come or gone; what was told of others is passed over."""
    [(kind, user_id)] = wanted.items()
    while user_id not in (await socket.frame("presence")).get(kind, ()):
        pass


async def opened(open_socket, *users):
    sockets = [await open_socket(user) for user in users]
    for socket in sockets:
        await socket.hello()
    return sockets


async def close(*sockets):
    for socket in sockets:
        await socket.disconnect()


async def ask(socket, room=None):
    await socket.send_json_to({"type": "presence.ask", **({"room": room.pk} if room else {})})
    while True:
        frame = await socket.frame("presence")
        if "here" in frame:
            return frame


async def test_those_who_share_a_room_see_one_another_come_and_go(people, open_socket, hub, async_redis):
    alice, bob, _ = people
    [first] = await opened(open_socket, alice)
    [second] = await opened(open_socket, bob)
    await news(first, came=bob.pk)
    await second.disconnect()
    await news(first, went=bob.pk)
    await first.disconnect()


async def test_of_two_devices_the_last_one_counts(people, open_socket, hub, async_redis):
    alice, bob, _ = people
    [watching] = await opened(open_socket, alice)
    phone, laptop = await opened(open_socket, bob, bob)
    await news(watching, came=bob.pk)
    await phone.disconnect()
    await asyncio.sleep(3 * presence.LEAVE_SECONDS)
    assert bob.pk in (await ask(watching))["here"]
    await laptop.disconnect()
    await news(watching, went=bob.pk)
    await watching.disconnect()


async def test_a_page_that_is_loaded_again_is_no_absence(people, open_socket, hub, async_redis, monkeypatch):
    monkeypatch.setattr(presence, "LEAVE_SECONDS", 5.0)
    alice, bob, room = people
    [watching] = await opened(open_socket, alice)
    [before] = await opened(open_socket, bob)
    await news(watching, came=bob.pk)
    await before.disconnect()
    [after] = await opened(open_socket, bob)
    await after.say(room, "still here")
    frames = []
    while not frames or frames[-1]["type"] != "message.new":
        frames.append(json.loads(await watching.receive_from(timeout=10)))
    assert "presence" not in {frame["type"] for frame in frames}
    await close(watching, after)


async def test_who_shares_no_room_is_told_nothing(people, open_socket, hub, async_redis, make_user):
    alice, bob, _ = people
    charlie = await threads.run(make_user, "charlie")
    watching, stranger = await opened(open_socket, alice, charlie)
    [second] = await opened(open_socket, bob)
    await news(watching, came=bob.pk)
    assert (await ask(stranger))["here"] == []
    assert await stranger.receive_nothing(timeout=0.3)
    await close(watching, stranger, second)


async def test_who_asks_is_told_everybody_around_and_who_is_in_a_room(people, open_socket, hub, async_redis):
    alice, bob, room = people
    first, second = await opened(open_socket, alice, bob)
    await news(first, came=bob.pk)
    assert (await ask(first))["here"] == sorted([alice.pk, bob.pk])
    answer = await ask(first, room)
    assert answer == {"type": "presence", "room": room.pk, "here": sorted([alice.pk, bob.pk]), "count": 2}
    await close(first, second)


async def test_only_members_may_ask_for_a_room(people, open_socket, hub, async_redis, make_user):
    _, _, room = people
    charlie = await threads.run(make_user, "charlie")
    [socket] = await opened(open_socket, charlie)
    await socket.send_json_to({"type": "presence.ask", "room": room.pk})
    assert (await socket.frame("error"))["code"] == "no_room"
    await socket.disconnect()


async def test_in_a_large_room_nothing_is_pushed_and_who_asks_is_told(
    people, open_socket, hub, async_redis, monkeypatch
):
    monkeypatch.setattr(presence, "LARGE_ROOM", 2)
    alice, bob, room = people
    first, second = await opened(open_socket, alice, bob)
    assert await first.receive_nothing(timeout=0.5)
    assert (await ask(first))["here"] == []
    assert (await ask(first, room))["count"] == 2
    await second.send_json_to({"type": "typing", "room": room.pk})
    await second.say(room, "hello")
    assert json.loads(await first.receive_from(timeout=10))["type"] == "message.new"
    await close(first, second)


async def told(here, gone=(), of=None):
    came, went = await of._tell(here, gone)
    return sorted(came), sorted(went)


async def test_who_is_in_two_processes_has_gone_when_both_say_so(async_redis):
    one, other = Presence(), Presence()
    assert await told([7, 8], of=one) == ([7, 8], [])
    assert await told([7], of=other) == ([], [])
    assert await told([], [7, 8], of=one) == ([], [8])
    assert await threads.run(presence.among, [7, 8]) == [7]
    assert await told([], [7], of=other) == ([], [7])


async def test_the_people_of_a_process_that_was_killed_go_when_their_heartbeat_ends(async_redis, monkeypatch):
    monkeypatch.setattr(keys, "PRESENCE_TTL", 0.2)
    killed, living = Presence(), Presence()
    assert await told([7], of=killed) == ([7], [])
    await asyncio.sleep(0.3)
    assert await threads.run(presence.among, [7]) == []
    monkeypatch.setattr(keys, "PRESENCE_TTL", 60)
    await told([8], of=living)
    assert client(Role.STATE).zcard(keys.presence("people")) == 1


async def test_who_is_late_because_redis_was_away_has_not_gone(async_redis, monkeypatch):
    one = Presence()
    await told([7, 8], of=one)
    client(Role.STATE).zadd(keys.presence("people"), {"7": 1, "8": 1})  # their heartbeats ran out meanwhile
    assert await told([7], of=one) == ([], [8])
    assert await threads.run(presence.among, [7, 8]) == [7]


async def test_in_a_crowd_those_who_wait_come_before_those_who_are_due_again(async_redis, monkeypatch):
    monkeypatch.setattr(presence, "MOST_AT_ONCE", 10)
    monkeypatch.setattr(presence, "RENEW_SECONDS", (0.0, 0.0))
    crowd = Presence()
    for user_id in range(1, 36):
        crowd.opened(user_id)
    for _ in range(4):
        await crowd._round()
    assert client(Role.STATE).zcard(keys.presence("people")) == 35


async def test_everything_about_presence_has_an_end(async_redis):
    await told([7], of=Presence())
    for part in ("people", "beats", "processes"):
        assert 0 < client(Role.STATE).ttl(keys.presence(part)) <= keys.PRESENCE_TTL


async def test_without_redis_nobody_is_known_and_afterwards_everybody_is(people, open_socket, hub, redis_server):
    alice, bob, _ = people
    first, second = await opened(open_socket, alice, bob)
    await news(first, came=bob.pk)
    await asyncio.to_thread(redis_server.kill)
    assert (await ask(first))["here"] == []
    redis_server.start()
    for user_id in list(hub.presence._due):
        hub.presence._due[user_id] = 0.0  # as half a minute later
    async with asyncio.timeout(10):
        while bob.pk not in (await ask(first))["here"]:
            await asyncio.sleep(0.05)
    await close(first, second)


async def test_a_crowd_is_told_of_over_some_rounds(async_redis, monkeypatch):
    monkeypatch.setattr(presence, "MOST_AT_ONCE", 10)
    crowd = Presence()
    for user_id in range(1, 36):
        crowd.opened(user_id)
    sizes = []
    for _ in range(4):
        await crowd._round()
        sizes.append(client(Role.STATE).zcard(keys.presence("people")))
    assert sizes == [10, 20, 30, 35]


# --- Typing --------------------------------------------------------------------------------------------------------


async def test_who_types_is_shown_to_the_others_once_in_three_seconds(people, open_socket, hub, async_redis):
    alice, bob, room = people
    first, second = await opened(open_socket, alice, bob)
    for _ in range(5):
        await second.send_json_to({"type": "typing", "room": room.pk})
    await second.say(room, "done")
    seen = []
    while "message.new" not in seen:
        seen.append(json.loads(await first.receive_from(timeout=10))["type"])
    assert seen.count("typing") == 1
    typists._told.clear()
    await second.send_json_to({"type": "typing", "room": room.pk})
    assert await first.frame("typing") == {
        "type": "typing", "room": room.pk, "user": {"id": bob.pk, "name": "Bob"},
    }  # fmt: skip
    await close(first, second)


async def test_who_is_not_in_the_room_cannot_be_seen_typing_there(people, open_socket, hub, async_redis, make_user):
    alice, _, room = people
    charlie = await threads.run(make_user, "charlie")
    inside, outside = await opened(open_socket, alice, charlie)
    await news(inside, came=alice.pk)
    await outside.send_json_to({"type": "typing", "room": room.pk})
    await outside.send_json_to({"type": "ping"})
    await outside.frame("pong")
    assert await inside.receive_nothing(timeout=0.3)
    await close(inside, outside)


async def test_neither_typing_nor_presence_reaches_the_database(
    people, open_socket, hub, async_redis, django_assert_num_queries
):
    alice, bob, room = people
    first, second = await opened(open_socket, alice, bob)
    await news(first, came=bob.pk)
    before = await threads.run(lambda: list(Membership.objects.values()))
    await second.send_json_to({"type": "typing", "room": room.pk})
    await first.frame("typing")
    assert await threads.run(lambda: list(Membership.objects.values())) == before
    await close(first, second)


def test_few_are_remembered_as_typing(monkeypatch):
    monkeypatch.setattr(typists, "MOST_REMEMBERED", 3)
    for user_id in range(10):
        typists._is_due(1, user_id)
    assert len(typists._told) == 3


def test_rooms_of_people_are_told_by_room(alice, bob):
    room = services.create_room(alice, "Tea")
    services.join_room(bob, room)
    assert presence._by_room([alice.pk, bob.pk], {alice.pk: {room.pk}, bob.pk: {room.pk}}) == {
        room.pk: [alice.pk, bob.pk]
    }
