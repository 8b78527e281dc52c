"""The hub's order: by version, whatever comes when; and what the channel layer lost comes from the database."""

import asyncio
import json
import logging
import threading
import time

import pytest
from channels.layers import get_channel_layer
from django.db import InterfaceError

from intellicolab import threads
from realtime import queries, services
from realtime.healing import HEAL_SECONDS
from realtime.hub import HOLD_SECONDS, Hub
from realtime.models import Membership
from realtime.outlet import Outlet
from realtime.publisher import DEADLINE, Batch, Publisher, publisher, room_topic
from realtime.services import NewMessage

pytestmark = pytest.mark.django_db(transaction=True)


class Listener:
    """An outlet whose frames a test can look at."""

    def __init__(self):
        self.frames = []
        self.codes = []
        self.outlet = Outlet(self.send, self.codes.append)
        self.outlet.release("hello")

    async def send(self, message):
        self.frames.append(message["text"])

    @property
    def versions(self):
        return [json.loads(frame)["version"] for frame in self.frames[1:]]

    async def expect(self, versions, seconds=5.0):
        async with asyncio.timeout(seconds):
            while self.versions != versions:
                await asyncio.sleep(0.01)


@pytest.fixture
def room(make_user, monkeypatch):
    """A room of six messages whose news was lost; told late, by a Cluster, it would heal a hub too early."""
    alice = make_user("alice")
    with monkeypatch.context() as lossy:
        lossy.setattr(publisher, "publish", lambda batch: None)
        room = services.create_room(alice, "General")
        services.post_messages([NewMessage(room.pk, alice.pk, f"id-{n}", f"text {n}") for n in range(6)])
    return room


@pytest.fixture
async def hub():
    yield Hub.here()
    await Hub.here().close()
    publisher.stop()


async def follow(hub, room, version):
    listener = Listener()
    await hub.follow(listener.outlet, [room.pk])
    hub.began({room.pk: version})
    return listener


def batch(room, first, last):
    ready = [json.dumps({"version": version}) for version in range(first, last + 1)]
    return Batch(room_topic(room.pk), ready, first, last).as_layer_message()


@pytest.mark.topology
async def test_batches_in_order_go_out_at_once(hub, room):
    listener = await follow(hub, room, 0)
    hub.deliver(batch(room, 1, 2))
    hub.deliver(batch(room, 3, 3))
    assert listener.versions == [1, 2, 3]


async def test_an_old_batch_is_dropped_and_a_half_old_one_cut(hub, room):
    listener = await follow(hub, room, 2)
    hub.deliver(batch(room, 1, 2))
    assert listener.versions == []
    hub.deliver(batch(room, 2, 4))
    assert listener.versions == [3, 4]


async def test_an_early_batch_waits_for_the_one_before_it(hub, room):
    listener = await follow(hub, room, 0)
    hub.deliver(batch(room, 3, 4))
    assert listener.versions == []
    hub.deliver(batch(room, 1, 2))
    assert listener.versions == [1, 2, 3, 4]


async def test_a_gap_is_read_from_the_database_once_the_wait_is_over(hub, room):
    listener = await follow(hub, room, 0)
    hub.deliver(batch(room, 5, 6))
    await listener.expect([1, 2, 3, 4, 5, 6], seconds=HOLD_SECONDS + 1)  # sooner than the round of 2 s


@pytest.mark.topology
async def test_what_never_came_through_redis_is_found_by_the_round(hub, room):
    listener = await follow(hub, room, 4)
    await listener.expect([5, 6], seconds=HEAL_SECONDS + 2)


async def test_a_second_socket_does_not_set_the_room_back(hub, room):
    first = await follow(hub, room, 0)
    hub.deliver(batch(room, 1, 3))
    second = await follow(hub, room, 1)
    hub.deliver(batch(room, 4, 4))
    assert first.versions == [1, 2, 3, 4]
    assert second.versions == [4]  # its client has a hole and asks for it: `room.resume`


@pytest.mark.topology
async def test_frames_reach_a_hub_through_redis(hub, room, unhurried_publisher):
    listener = await follow(hub, room, 6)
    publisher.publish_room(room.pk, [json.dumps({"version": version}) for version in (7, 8)], first=7)
    await listener.expect([7, 8], seconds=HEAL_SECONDS - 0.5)


@pytest.mark.topology
async def test_a_large_batch_goes_in_parts(hub, room, unhurried_publisher):
    listener = await follow(hub, room, 6)
    versions = list(range(7, 257))
    publisher.publish_room(room.pk, [json.dumps({"version": version}) for version in versions], first=7)
    await listener.expect(versions)


async def test_a_paused_redis_costs_the_publisher_its_deadline_and_no_more(room, redis_server, caplog):
    caplog.set_level(logging.INFO, logger="realtime")
    own = Publisher()
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add("room.1", channel)
    own.publish(Batch("room.1", ["warm"]))
    assert (await asyncio.wait_for(layer.receive(channel), 5))["frames"] == ["warm"]
    redis_server.pause()
    try:
        for n in range(20):
            own.publish(Batch("room.1", [str(n)]))
        await asyncio.sleep(DEADLINE * 2)
        assert own.dropped == 20  # one by its deadline, the rest were as old when their turn came
    finally:
        redis_server.resume()
    own.publish(Batch("room.1", ["after"]))
    async with asyncio.timeout(5):
        while (await layer.receive(channel))["frames"] != ["after"]:
            pass
    own.stop()
    await layer.flush()
    assert [record.message.split(";")[0] for record in caplog.records if record.name == "realtime"] == [
        "Redis does not take what was committed",
        "Publishing again",
    ]


@pytest.mark.topology
async def test_a_batch_of_another_shape_does_not_end_the_delivery(hub, room, unhurried_publisher, caplog):
    listener = await follow(hub, room, 6)
    layer = get_channel_layer()
    await layer.group_send(room_topic(room.pk), {"topic": room_topic(room.pk), "from": "another version"})
    publisher.publish_room(room.pk, [json.dumps({"version": 7})], first=7)
    await listener.expect([7], seconds=HEAL_SECONDS - 0.5)
    assert "could not be delivered" in caplog.text


async def test_a_database_that_fails_once_does_not_end_the_healing(hub, room, monkeypatch, caplog):
    listener = await follow(hub, room, 4)
    states, failures = (
        queries.states,
        [InterfaceError("connection already closed"), RuntimeError("a fault of ours")],
    )

    def fail_twice(room_ids):
        if failures:
            raise failures.pop(0)
        return states(room_ids)

    monkeypatch.setattr(queries, "states", fail_twice)
    await listener.expect([5, 6], seconds=4 * HEAL_SECONDS)
    assert caplog.text.count("can't be compared with the database") == 2


async def test_a_room_that_is_being_opened_is_left_to_who_opens_it(hub, room):
    """Their client is told another version than a round reads at this moment: what lies between would be lost."""
    listener = Listener()
    await hub.follow(listener.outlet, [room.pk])
    hub.deliver(batch(room, 7, 7))
    await asyncio.sleep(1.5 * HEAL_SECONDS)
    hub.began({room.pk: 5})
    await listener.expect([6, 7])


async def test_a_database_that_fails_while_a_socket_is_let_in_is_asked_again(hub, room, monkeypatch):
    listener, asked = Listener(), []

    def fail_at_the_second(user_ids):
        asked.append(user_ids)
        if len(asked) == 2:
            raise InterfaceError("connection already closed")
        return rooms_by_person(user_ids)

    rooms_by_person = queries.rooms_by_person
    monkeypatch.setattr(queries, "rooms_by_person", fail_at_the_second)
    await hub.enter(listener.outlet, room.created_by_id, [])
    async with asyncio.timeout(6 * HEAL_SECONDS):
        while not listener.frames[1:]:
            await asyncio.sleep(0.01)
    assert json.loads(listener.frames[1])["type"] == "room.added"
    assert len(asked) >= 4
    assert hub.topics.hears(listener.outlet, room.pk)
    assert hub.topics.get(room_topic(room.pk)).version == room.last_version + 6


async def test_who_was_removed_while_they_were_let_in_hears_nothing(hub, room, make_user, monkeypatch):
    bob = await threads.run(make_user, "bob")
    await threads.run(Membership.objects.create, room=room, user=bob)  # without the service's own news
    listener, rooms_by_person, asked = Listener(), queries.rooms_by_person, []

    def remove_after_the_first(user_ids):
        found = rooms_by_person(user_ids)
        if not asked:
            services.leave_room(bob, room)
        asked.append(user_ids)
        return found

    monkeypatch.setattr(queries, "rooms_by_person", remove_after_the_first)
    await hub.enter(listener.outlet, bob.pk, [])
    async with asyncio.timeout(4 * HEAL_SECONDS):
        while len(asked) < 2:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert not hub.topics.hears(listener.outlet, room.pk)
    assert not [frame for frame in listener.frames[1:] if "room.added" in frame]


async def test_a_cancelled_goodbye_leaves_no_dead_socket(hub, room):
    listener = await follow(hub, room, 6)
    hub.leave_all(listener.outlet)
    assert len(hub.topics) == 0
    assert hub.sockets == 0


async def test_a_stop_that_takes_too_long_loses_nothing_and_the_next_thread_is_another(monkeypatch):
    sent, held, own = [], threading.Event(), Publisher()

    async def slow(self, layer, batch):
        if batch.topic == "first":
            await asyncio.to_thread(held.wait, 30)
        sent.append((batch.topic, threading.current_thread()))

    monkeypatch.setattr(Publisher, "_send", slow)
    for topic in ("first", "second"):
        own.publish(Batch(topic, []))
    first = own._thread
    await asyncio.to_thread(own.stop)
    assert first.is_alive()
    own.publish(Batch("third", []))
    second = own._thread
    await asyncio.to_thread(own.stop)
    await asyncio.to_thread(second.join, 5)
    held.set()
    await asyncio.to_thread(first.join, 5)
    assert not first.is_alive()
    assert not second.is_alive()
    assert sent == [("third", second), ("first", first), ("second", first)]


def test_a_batch_that_cannot_be_published_does_not_end_the_publisher(caplog):
    own = Publisher()
    own.publish(Batch("not a valid / group name \N{SNOWMAN}" * 50, [object()]))
    deadline = time.monotonic() + 5
    while "could not be published" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    thread = own._thread
    own.publish(Batch("room.1", ["fine"]))
    assert own._thread is thread
    assert thread.is_alive()
    own.stop()
    own.publish(Batch("room.1", ["after the end"]))  # a late request: never raises, whoever committed
    own.stop()
