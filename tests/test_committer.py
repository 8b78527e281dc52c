"""The group committer: one transaction for what waits, one failure for what is wrong, and no message lost."""

import threading
import time

import pytest
from django.db import DatabaseError, IntegrityError

from realtime import services
from realtime.committer import MAX_WAITING, Committer
from realtime.errors import ChatError
from realtime.models import Message
from realtime.services import NewMessage, Posted, post_messages

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def people(make_user):
    alice = make_user("alice")
    return alice, services.create_room(alice, "General")


class Gate:
    """A post function that waits until it is opened, so that a test knows what waits behind it."""

    def __init__(self, post=post_messages):
        self.post = post
        self.open = threading.Event()
        self.entered = threading.Event()
        self.sizes = []

    def __call__(self, batch):
        self.entered.set()
        assert self.open.wait(10)
        self.sizes.append(len(batch))
        return self.post(batch)


def messages(people, count, prefix="m"):
    alice, room = people
    return [NewMessage(room.pk, alice.pk, f"{prefix}{n}", f"text {n}") for n in range(count)]


def test_what_arrives_during_a_commit_goes_together_in_the_next(people):
    gate = Gate()
    committer = Committer(gate)
    first, *rest = messages(people, 51)
    futures = [committer.submit(first)]
    assert gate.entered.wait(10)
    futures += [committer.submit(message) for message in rest]
    gate.open.set()
    assert [future.result(10).number for future in futures] == list(range(1, 52))
    assert gate.sizes == [1, 50]
    committer.drain()


def test_draining_commits_what_waits_and_refuses_what_comes(people):
    gate = Gate()
    committer = Committer(gate)
    futures = [committer.submit(message) for message in messages(people, 5)]
    threading.Timer(0.05, gate.open.set).start()
    committer.drain()
    assert [future.result(0).number for future in futures] == [1, 2, 3, 4, 5]
    with pytest.raises(ChatError, match="more messages than it can store"):
        committer.submit(messages(people, 1, "late")[0]).result(1)
    assert Message.objects.count() == 5


def test_a_full_queue_says_busy_and_loses_nothing_that_it_took(people):
    gate = Gate(post=lambda batch: [Posted(1, 1, 1) for _ in batch])
    committer = Committer(gate)
    first = committer.submit(messages(people, 1)[0])
    assert gate.entered.wait(10)
    taken = [committer.submit(message) for message in messages(people, MAX_WAITING)]
    over = committer.submit(messages(people, 1)[0])
    assert over.exception(0).code == "busy"
    gate.open.set()
    assert all(future.result(10) for future in [first, *taken])
    committer.drain()


def test_a_clash_with_another_process_is_settled_one_by_one(people):
    calls = []

    def clash_once(batch):
        calls.append(len(batch))
        if len(calls) == 1:
            post_messages([batch[1]])  # another process stores it between our look and our insert
            raise IntegrityError
        return post_messages(batch)

    gate = Gate(clash_once)
    committer = Committer(gate)
    futures = []
    with committer._news:  # the thread can't take the first before all three wait
        futures += [committer.submit(message) for message in messages(people, 3)]
    gate.open.set()
    places = [future.result(10) for future in futures]
    assert sorted(place.number for place in places) == [1, 2, 3]
    assert places[1].again
    assert calls == [3, 1, 1, 1]
    committer.drain()


def test_a_database_that_fails_is_told_and_survived(people, caplog):
    answers = iter([DatabaseError("disk full"), None])

    def fail_first(batch):
        error = next(answers)
        if error:
            raise error
        return post_messages(batch)

    committer = Committer(fail_first)
    message = messages(people, 1)[0]
    with pytest.raises(ChatError) as caught:
        committer.submit(message).result(10)
    assert caught.value.code == "unavailable"
    assert "could not be stored" in caplog.text
    assert committer.submit(message).result(10).number == 1
    committer.drain()


def test_a_paused_redis_holds_up_no_commit(people, redis_server):
    committer = Committer()
    redis_server.pause()
    try:
        began = time.monotonic()
        places = [committer.submit(message).result(10) for message in messages(people, 20)]
        assert time.monotonic() - began < 2
    finally:
        redis_server.resume()
    assert [place.number for place in places] == list(range(1, 21))
    committer.drain()
