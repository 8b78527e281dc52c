"""Facts from the transaction that makes them to their stream, whatever dies on the way."""

import asyncio
import re
import threading
import time
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.utils import timezone

from intellicolab.cache.models import Fence
from intellicolab.events import groups, schema, signals, streams
from intellicolab.events import relay as module
from intellicolab.events.models import DeadLetter, OutboxRow
from intellicolab.events.outbox import emit, emit_all
from intellicolab.events.relay import Relay
from intellicolab.events.schema import Event, UnknownEvent, UnreadableEvent, event
from intellicolab.events.signals import Listener, asignal, listen, signal
from intellicolab.events.waking import OutboxFilled, waker
from intellicolab.redis import keys
from intellicolab.redis.client import Role, client
from intellicolab.redis.fence import StaleFence

from .site import ROOT

STREAM, OTHER = "test-events", "other-test-events"


@event("test:happened", stream=STREAM)
class Happened(Event):
    number: int
    note: str = ""


@event("test:elsewhere", stream=OTHER)
class Elsewhere(Event):
    number: int


@event("test:noticed")
class Noticed(Event):
    number: int


def wait_until(happened, seconds=15):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "It did not happen in time."
        time.sleep(0.005)


def carried(stream=STREAM):
    """[(position, number)] of what lies in the stream."""
    entries = client(Role.STATE).xrange(keys.event_stream(stream))
    return [(int(place.split(b"-")[0]), decoded(fields).number) for place, fields in entries]


def numbers(stream=STREAM):
    return [number for _position, number in carried(stream)]


def decoded(fields):
    return schema.decode(fields[b"n"].decode(), int(fields[b"v"]), fields[b"d"])


def happen(*wanted):
    emit_all(Happened(number=number) for number in wanted)


class Rounds:
    def __init__(self, grant):
        self.grant = grant
        self.take_over()

    def take_over(self):
        self.relay = Relay()
        self.relay.begin()

    def __call__(self):
        self.relay._look_at = 0.0
        self.relay.round(self.grant)


@pytest.fixture
def relay():
    """Rounds by hand, with the lock that they need."""
    with module.lock as grant:
        yield Rounds(grant)


@pytest.fixture
def running():
    relays = []

    def start():
        relays.append(Relay())
        relays[-1].start()
        return relays[-1]

    yield start
    for found in relays:
        found.stop()


@pytest.fixture
def ears():
    """A listener that listens."""
    listener = Listener()
    listener.start()
    assert listener.listens.wait(15)
    yield listener
    listener.stop()


# --- Schema --------------------------------------------------------------------------------------------------------


def test_an_event_comes_back_as_it_was():
    fact = Happened(number=7, note="ä\n")
    assert schema.decode("test:happened", 1, schema.encode(fact)) == fact
    assert (fact.name, fact.version, fact.stream) == ("test:happened", 1, STREAM)
    assert fact.id != Happened(number=7).id


def test_an_event_cannot_be_changed():
    with pytest.raises(AttributeError):
        Happened(number=7).number = 8


def test_fields_that_came_later_have_their_defaults_and_unknown_ones_are_passed_over():
    fact = Happened(number=7)
    assert '"note":""' in schema.encode(fact)
    assert schema.decode("test:happened", 1, schema.encode(fact).replace('"note":""', '"later":1')) == fact


@pytest.mark.parametrize(("name", "version"), [("test:happened", 2), ("test:never", 1)])
def test_an_unknown_name_or_version_is_told_as_such(name, version):
    with pytest.raises(UnknownEvent, match=name):
        schema.decode(name, version, "{}")


@pytest.mark.parametrize("data", ["", "{", "{}", '{"number":"seven"}', "[" * 100_000, b"\xff"])
def test_bytes_that_are_no_event_are_told_as_such(data):
    with pytest.raises(UnreadableEvent, match="test:happened"):
        schema.decode("test:happened", 1, data)


def test_a_name_and_version_are_taken_once():
    with pytest.raises(ValueError, match="already"):

        @event("test:happened", stream=STREAM)
        class Again(Event):
            pass


# --- Outbox --------------------------------------------------------------------------------------------------------


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_never_happened(relay):
    def fail():
        with transaction.atomic():
            happen(1)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    happen(2)
    relay()
    assert numbers() == [2]


@pytest.mark.django_db(transaction=True)
def test_a_mere_signal_is_no_fact():
    with pytest.raises(ValueError, match="test:noticed"):
        emit(Noticed(number=1))
    assert not OutboxRow.objects.exists()


@pytest.mark.django_db
def test_nothing_to_emit_writes_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        emit_all([])


# --- Relay ---------------------------------------------------------------------------------------------------------


@pytest.mark.database
@pytest.mark.topology
@pytest.mark.django_db(transaction=True)
def test_facts_lie_in_their_streams_in_the_order_of_their_commits(relay):
    happen(1, 2)
    emit(Elsewhere(number=5))
    happen(3)
    relay()
    happen(4)
    relay()
    assert carried() == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert carried(OTHER) == [(1, 5)]


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_who_commits_later_comes_later_whatever_their_primary_key(relay):
    happen(2)
    late = OutboxRow.objects.get()
    OutboxRow.objects.all().delete()  # as if its transaction were still open
    happen(1)
    assert OutboxRow.objects.get().pk > late.pk
    relay()
    late.save(force_insert=True)
    relay()
    assert carried() == [(1, 1), (2, 2)]


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_more_than_a_batch_is_carried_whole(relay, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 7)
    happen(*range(1, 31))
    for _ in range(5):
        relay()
    assert carried() == [(number, number) for number in range(1, 31)]


@pytest.mark.topology
@pytest.mark.django_db(transaction=True)
def test_what_died_between_numbering_and_appending_is_appended_by_the_next(monkeypatch, relay):
    happen(1, 2)

    def die(*args):
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(streams, "append", die)
        with pytest.raises(ConnectionError):
            relay()
    assert OutboxRow.objects.filter(position=None).count() == 0
    assert carried() == []
    happen(3)
    relay()
    assert carried() == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.django_db(transaction=True)
def test_an_answer_that_was_lost_doubles_nothing(monkeypatch, relay):
    happen(1, 2)

    def append_and_lose_the_answer(*args):
        append(*args)
        raise ConnectionError

    append = streams.append

    with monkeypatch.context() as patch:
        patch.setattr(streams, "append", append_and_lose_the_answer)
        with pytest.raises(ConnectionError):
            relay()
    assert len(carried()) == 2
    relay()
    assert carried() == [(1, 1), (2, 2)]


@pytest.mark.topology
@pytest.mark.django_db(transaction=True)
def test_the_newest_entries_that_a_failover_lost_go_again_and_no_others(relay, caplog):
    happen(1, 2)
    relay()
    state, stream = client(Role.STATE), keys.event_stream(STREAM)
    before = state.dump(stream)
    happen(3, 4)
    relay()
    state.restore(stream, 0, before, replace=True)
    happen(5)
    relay()
    assert carried() == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]


@pytest.mark.django_db(transaction=True)
def test_a_loss_between_two_appends_is_noticed_by_the_script(relay, caplog):
    happen(1, 2)
    relay()
    before = client(Role.STATE).dump(keys.event_stream(STREAM))
    happen(3)
    relay()
    rows = list(OutboxRow.objects.order_by("position"))
    client(Role.STATE).restore(keys.event_stream(STREAM), 0, before, replace=True)
    with pytest.raises(streams.EntriesLost) as lost:
        streams.append(STREAM, rows[2:], after=3, fence=2**52)
    assert lost.value.last == 2
    assert numbers() == [1, 2]


@pytest.mark.django_db(transaction=True)
def test_an_emptied_server_gets_the_last_hour_again_without_news(relay):
    happen(1, 2, 3)
    relay()
    client(Role.STATE).delete(keys.event_stream(STREAM))
    relay()
    assert carried() == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_a_database_from_a_backup_gives_no_position_twice(relay):
    happen(1, 2, 3)
    relay()
    OutboxRow.objects.filter(position__gt=1).delete()
    happen(4)
    relay.take_over()
    relay()
    assert numbers() == [1, 2, 3, 4]


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_an_emptied_server_gives_no_letter_the_position_of_another(relay):
    """The rows that had it are gone from the outbox by then."""
    DeadLetter.objects.create(group="any", stream=STREAM, position=5, name="x", version=1, data="{}", tries=1)
    happen(1)
    relay()
    assert carried() == [(6, 1)]


@pytest.mark.django_db(transaction=True)
def test_rows_of_a_stream_that_nobody_here_knows_wait_and_keep_nobody(relay, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 2)
    for stream in ("jobs.gone", "jobs.gone", "newer-events"):
        OutboxRow.objects.create(stream=stream, name="x", version=1, data="{}")
    happen(1)
    relay()
    assert carried() == [(1, 1)]
    assert OutboxRow.objects.filter(position=None).count() == 3


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_a_relay_whose_lock_has_gone_numbers_nothing(relay):
    happen(1)
    Fence.objects.create(name=module.NAME, fence=2**60)
    with pytest.raises(StaleFence):
        relay()
    assert OutboxRow.objects.filter(position=None).count() == 1
    assert carried() == []


@pytest.mark.topology
@pytest.mark.django_db(transaction=True)
def test_a_relay_whose_lock_has_gone_appends_nothing(relay):
    happen(1)
    client(Role.STATE).set(keys.event_fence(STREAM), 2**60)
    with pytest.raises(StaleFence):
        relay()
    assert carried() == []


@pytest.mark.django_db(transaction=True)
def test_a_full_stream_keeps_neither_the_others_nor_the_facts(relay, monkeypatch):
    monkeypatch.setattr(streams, "append", partial(streams.append, most=2))
    happen(1, 2)
    relay()
    happen(3)
    emit(Elsewhere(number=5))
    with pytest.raises(streams.StreamFull, match=STREAM):
        relay()
    assert numbers() == [1, 2]
    assert numbers(OTHER) == [5]
    client(Role.STATE).xtrim(keys.event_stream(STREAM), minid=3)
    relay()
    assert carried() == [(3, 3)]


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_rows_are_kept_for_an_hour_and_longer_where_redis_has_them_not(relay, monkeypatch):
    monkeypatch.setattr(module, "PRUNE_SECONDS", 0)
    monkeypatch.setattr(module, "BATCH", 2)
    happen(1, 2, 3, 4)
    relay()
    relay()
    OutboxRow.objects.filter(position__lte=3).update(numbered_at=timezone.now() - timedelta(hours=2))
    with monkeypatch.context() as patch:
        patch.setattr(streams, "append", lambda *args: 1 / 0)
        happen(5)
        with pytest.raises(ZeroDivisionError):
            relay()
        assert list(OutboxRow.objects.order_by("position").values_list("position", flat=True)) == [4, 5]
        OutboxRow.objects.update(numbered_at=timezone.now() - timedelta(hours=2))
        with pytest.raises(ZeroDivisionError):
            relay()
    assert list(OutboxRow.objects.values_list("position", flat=True)) == [5]


@pytest.mark.django_db(transaction=True)
def test_what_is_old_goes_also_while_a_stream_is_full(relay, monkeypatch):
    monkeypatch.setattr(module, "PRUNE_SECONDS", 0)
    monkeypatch.setattr(streams, "append", partial(streams.append, most=2))
    happen(1, 2)
    emit(Elsewhere(number=1))
    relay()
    OutboxRow.objects.update(numbered_at=timezone.now() - timedelta(hours=2))
    happen(3)
    with pytest.raises(streams.StreamFull):
        relay()
    assert list(OutboxRow.objects.values_list("stream", "position")) == [(STREAM, 3)]


# --- At work -------------------------------------------------------------------------------------------------------


@pytest.mark.database
@pytest.mark.topology
@pytest.mark.django_db(transaction=True)
def test_a_commit_wakes_the_relay(running, ears):
    found = running()
    found.interval = 60
    happen(1)
    wait_until(lambda: numbers() == [1])
    wait_until(lambda: not found._news.is_set())
    happen(2)
    wait_until(lambda: numbers() == [1, 2])


@pytest.mark.django_db(transaction=True)
def test_without_the_signal_it_looks_by_itself(running):
    running()
    happen(1)
    wait_until(lambda: numbers() == [1])
    happen(2)
    wait_until(lambda: numbers() == [1, 2])


@pytest.mark.django_db(transaction=True)
def test_of_two_relays_one_works_and_the_other_takes_over(running):
    first, second = running(), running()
    for number in range(1, 6):
        happen(number)
    wait_until(lambda: numbers() == [1, 2, 3, 4, 5])
    first.stop()
    happen(6)
    wait_until(lambda: numbers() == [1, 2, 3, 4, 5, 6])
    second.stop()


@pytest.mark.django_db(transaction=True)
def test_commits_go_on_without_redis_and_are_carried_when_it_is_back(running, redis_server):
    running()
    happen(1)
    wait_until(lambda: numbers() == [1])
    redis_server.kill()
    began = time.monotonic()
    happen(2)
    assert time.monotonic() - began < 0.5
    redis_server.start()
    wait_until(lambda: numbers()[-1:] == [2], 40)


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_many_emitters_at_once_lose_and_double_nothing(running):
    def emit_many(first):
        for number in range(first, first + 25):
            happen(number)
        connection.close()

    running()
    threads = [threading.Thread(target=emit_many, args=[100 * at]) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: len(carried()) == 100)
    found = numbers()
    assert [position for position, _number in carried()] == list(range(1, 101))
    for first in (0, 100, 200, 300):
        assert [number for number in found if first <= number < first + 25] == list(range(first, first + 25))


# --- Signals -------------------------------------------------------------------------------------------------------


@pytest.fixture
def heard(monkeypatch):
    found = []
    monkeypatch.setitem(signals._listening, "test:noticed", [])

    @listen("test:noticed")
    def fail(_event):
        raise LookupError

    @listen("test:noticed")
    def hear(event):
        found.append(event.number)

    return found


@pytest.mark.topology
def test_who_listens_hears_whatever_others_do_with_it(heard, ears, caplog):
    assert signal(Noticed(number=1))
    wait_until(lambda: heard == [1])
    assert "fail" in caplog.text


@pytest.mark.topology
async def test_the_async_form_tells_the_same(heard, ears):
    assert await asignal(Noticed(number=2))
    await asyncio.to_thread(wait_until, lambda: heard == [2])


def test_what_is_no_signal_is_told_and_passed_over(heard, ears, caplog):
    state = client(Role.STATE)
    for payload in (b"", b"[1]", b'[9,"{}"]', b'[1,"{}"]', b'[1,"\xff"]', b"[" * 100_000):
        state.publish(keys.signal("test:noticed"), payload)
    signal(Noticed(number=3))
    wait_until(lambda: heard == [3])
    assert caplog.text.count("was not understood") == 6


def test_a_signal_without_redis_is_lost_at_once_and_heard_again_after(heard, ears, redis_server):
    redis_server.kill()
    began = time.monotonic()
    assert not signal(Noticed(number=1))
    assert time.monotonic() - began < 1
    wait_until(lambda: not ears.listens.is_set())
    redis_server.start()
    assert ears.listens.wait(15)
    wait_until(lambda: signal(Noticed(number=2)))
    wait_until(lambda: heard == [2])


def test_many_commits_are_one_signal(monkeypatch, ears):
    found = []
    monkeypatch.setitem(signals._listening, OutboxFilled.name, [found.append])
    for _ in range(1000):
        waker.wake()
    wait_until(lambda: found)
    time.sleep(0.05)
    assert len(found) < 100


DOCUMENTED = (ROOT / "docs" / "events.md").read_text()


def test_each_event_stands_in_its_documentation():
    own = {kind.name for kind in schema.registered() if not kind.name.startswith("test:")}
    assert own
    assert set(re.findall(r"^\| `([a-z]+:[a-z]+)`", DOCUMENTED, re.M)) == own


def test_each_group_stands_in_its_documentation_with_its_options():
    """An option that is not the default is named; `repeatable` depends on where mail goes."""
    rows = re.findall(r"^\| `([a-z-]+)` \|[^|]+\|([^|]*)\|$", DOCUMENTED.partition("### The groups")[2], re.M)
    default = groups.Group("default")
    options = ("outside", "repeatable", "concurrency", "batch", "tries", "silence")
    own = {
        group.name: {name for name in options if getattr(group, name) != getattr(default, name)}
        for group in groups.groups()
        if not any(name.startswith("test:") for name, _version in group.handlers)
    }
    assert {name: set(re.findall(r"`(\w+)`", text)) for name, text in rows} == own
