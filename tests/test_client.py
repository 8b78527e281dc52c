"""The Python client against a real installation: what it says is stored once, and what it follows is complete."""

import asyncio
import os
import random
import signal

import pytest

from realtime.client import LONGEST_DELAY, Client, Ended, Refused
from realtime.roomcopy import RoomCopy

from .site import Site


@pytest.fixture(scope="module")
def site():
    running = Site()
    try:
        yield running.start()
        running.stop()
    finally:
        running.remove()


@pytest.fixture(scope="module")
def people(site):
    return site.people("alice", "bob")


def client(site, person, **options):
    return Client(site.url, cookie=person["cookie"], **options)


async def until(happened, seconds=30):
    async with asyncio.timeout(seconds):
        while not happened():
            await asyncio.sleep(0.02)


def texts(copy):
    return [message["html"] for _, message in sorted(copy.messages.items())]


async def test_two_clients_talk_edit_and_delete(site, people):
    alice, bob = people
    async with client(site, alice) as one, client(site, bob) as other:
        copy = other.follow(bob["room"])
        first = await one.send(alice["room"], "one")
        second = await one.send(alice["room"], "two")
        assert second["number"] == first["number"] + 1
        await one.edit(alice["room"], first["number"], "*one*")
        await one.delete(alice["room"], second["number"])
        await until(lambda: copy.messages.get(second["number"], {}).get("deleted"))
        assert texts(copy) == ["<p><em>one</em></p>", ""]
        assert copy.messages[first["number"]]["edited"]


async def test_the_same_id_is_the_same_message(site, people):
    alice, _ = people
    async with client(site, alice) as chat:
        first = await chat.send(alice["room"], "once", "the-same-id")
        assert await chat.send(alice["room"], "once", "the-same-id") == first


async def test_what_is_refused_is_raised(site, people):
    async with client(site, people[0]) as chat:
        with pytest.raises(Refused) as caught:
            await chat.send(people[0]["room"], "  ")
        assert caught.value.code == "empty"


async def test_who_is_not_signed_in_is_told_and_does_not_try_again(site):
    with pytest.raises(Ended):
        async with Client(site.url, cookie="sessionid=nobody"):
            pass


async def test_a_client_that_was_away_asks_for_what_it_missed(site, people):
    alice, bob = people
    heard = []
    async with client(site, alice) as one, client(site, bob, on_frame=heard.append) as other:
        changes = []
        copy = other.follow(bob["room"], on_change=changes.append)
        begin = copy.version
        await one.send(alice["room"], "before")
        await until(lambda: copy.version > begin)
        other.cut()
        await until(lambda: not other.is_open)
        for n in range(5):
            await one.send(alice["room"], f"meanwhile {n}")
        waiting = asyncio.create_task(other.send(bob["room"], "said while away"))
        mine = await waiting
        await until(lambda: copy.version == mine["version"])
        assert [change["version"] for change in changes] == list(range(begin + 1, mine["version"] + 1))
        assert [frame["type"] for frame in heard].count("hello") == 2


async def test_who_is_too_far_behind_loads_the_newest_page(site, people):
    alice, _ = people
    async with client(site, alice) as chat:
        last = (await chat.send(alice["room"], "newest"))["number"]
        copy = RoomCopy(alice["room"], 0, lambda change: None)
        await chat._load(copy)
        assert max(copy.messages) >= last
        assert copy.version >= last


async def test_a_server_that_is_killed_costs_no_message():
    """Its own installation, because the others share theirs."""
    site = Site("uvicorn")
    try:
        site.start()
        alice, bob = site.people("alice", "bob")
        async with client(site, alice) as one, client(site, bob) as other:
            copy = other.follow(bob["room"], version=0)
            sending = [asyncio.create_task(one.send(alice["room"], f"text {n}")) for n in range(300)]
            await until(lambda: sum(task.done() for task in sending) > 50)
            os.kill(site.web_pid(), signal.SIGKILL)
            numbers = [answer["number"] for answer in await asyncio.gather(*sending)]
            await until(lambda: len(copy.messages) == 300)
            assert sorted(numbers) == list(range(1, 301)) == sorted(copy.messages)
        site.stop()
    finally:
        site.remove()


# --- The version rule ------------------------------------------------------------------------------------------------


def change(version, number=None, **fields):
    return {"type": "message.new", "room": 1, "number": number or version, "version": version, **fields}


def test_a_copy_is_the_same_whatever_order_changes_come_in():
    """Changes come twice, late and early, some not at all; the room is asked about where something is missing."""
    for seed in range(300):
        chance = random.Random(seed)
        history = [change(version, number=chance.randint(1, 8)) for version in range(1, 21)]
        final = {row["number"]: row for row in history}
        told = []
        copy = RoomCopy(1, 0, told.append)
        pushed = [row for row in history for _ in range(chance.randint(0, 2))]
        chance.shuffle(pushed)
        for row in pushed:
            copy.receive(row)
            if copy.is_behind and chance.random() < 0.2:
                upto = chance.randint(copy.version, 20)
                newest = {row["number"]: row for row in history[:upto] if row["version"] > copy.version}
                copy.catch_up(sorted(newest.values(), key=lambda row: row["version"]), upto)
        copy.hear_of(20)
        if copy.is_behind:
            newest = {row["number"]: row for row in history if row["version"] > copy.version}
            copy.catch_up(sorted(newest.values(), key=lambda row: row["version"]), 20)
        assert copy.messages == final
        assert not copy.is_behind
        assert [row["version"] for row in told] == sorted({row["version"] for row in told})


def test_a_copy_keeps_as_many_messages_as_it_is_told_to():
    copy = RoomCopy(1, 0, lambda change: None, keep=3)
    for version in range(1, 11):
        copy.receive(change(version))
    assert sorted(copy.messages) == [8, 9, 10]
    assert copy.version == 10


def test_early_changes_are_bounded():
    copy = RoomCopy(1, 0, lambda change: None)
    for version in range(2, 2000):
        copy.receive(change(version))
    assert len(copy._held) <= 500
    assert copy.is_behind


def test_a_page_that_comes_late_takes_nothing_away():
    copy = RoomCopy(1, 0, lambda change: None)
    copy.begin_anew([change(version) for version in (2, 3)], 3)
    copy.receive(change(4))
    copy.begin_anew([change(version) for version in (1, 2)], 2)
    assert sorted(copy.messages) == [2, 3, 4]
    assert copy.version == 4


def test_a_server_that_is_away_for_days_ends_no_client():
    assert LONGEST_DELAY / 2 <= Client("http://localhost", cookie="")._delay(100_000) <= LONGEST_DELAY
