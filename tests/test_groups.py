"""Facts handled by consumer groups: once each, whoever is killed; tried again, and given up in the end."""

import logging
import threading
import time

import pytest
from django.db import IntegrityError, OperationalError, connection
from django.utils import timezone

from intellicolab.events import consumers as module
from intellicolab.events import groups, handling, operations, streams
from intellicolab.events.consumers import Consumer
from intellicolab.events.groups import Group, declare, on
from intellicolab.events.models import DeadLetter, HandledEvent
from intellicolab.events.outbox import NumberedRow
from intellicolab.events.schema import Event, encode
from intellicolab.redis import keys
from intellicolab.redis.client import Role, client
from realtime.models import Departure

from .behind import Thing, make_table
from .test_events import STREAM, Elsewhere, Happened, Noticed, wait_until

GROUP = "test-group"
delay_ms = module._delay_ms


@pytest.fixture(autouse=True)
def no_groups(monkeypatch):
    """The application's own groups have no part here."""
    monkeypatch.setattr(groups, "_groups", {})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 0.02)
    monkeypatch.setattr(module, "CLAIM_SECONDS", 0.02)
    monkeypatch.setattr(module, "_delay_ms", lambda tries: 5)


@pytest.fixture
def things(transactional_db):
    make_table()
    Thing.objects.all().delete()  # other modules' rows: no flush knows the table
    yield Thing.objects
    Thing.objects.all().delete()


@pytest.fixture
def consume():
    """Start consumers; they end with the test."""
    running = []

    def start(group, number=0):
        consumer = Consumer(group, STREAM, number)
        consumer.start()
        running.append(consumer)
        return consumer

    yield start
    for consumer in running:
        consumer.ask_to_stop()
    for consumer in running:
        consumer.join(10)


def append(*events: Event):
    """As the relay does it."""
    last = streams.last_position(STREAM)
    rows = [
        NumberedRow(at, event.name, event.version, encode(event), event.at) for at, event in enumerate(events, last + 1)
    ]
    streams.append(STREAM, rows, last, 1)


def pending(group=GROUP):
    return client(Role.STATE).xpending(keys.event_stream(STREAM), group)["pending"]


def writer(group=GROUP, **options):
    """A group that writes each fact's number to the table."""
    declared = declare(Group(group, **options))

    @on(Happened, group=group)
    def write(event):
        Thing.objects.create(value=event.number)

    return declared


def values():
    return sorted(Thing.objects.values_list("value", flat=True))


# --- Registration --------------------------------------------------------------------------------------------------


def test_a_group_is_made_by_its_first_handler_or_declared_before():
    on(Happened, group="made")(print)
    assert [group.name for group in groups.groups()] == ["made"]
    with pytest.raises(ValueError, match="before its first handler"):
        declare(Group("made", batch=3))


def test_a_mere_signal_has_no_group():
    with pytest.raises(ValueError, match="listen"):
        on(Noticed, group="any")


# --- Effectively once ----------------------------------------------------------------------------------------------


@pytest.mark.database
@pytest.mark.topology
def test_a_group_gets_what_was_there_before_it_and_what_comes(things, consume):
    append(Happened(number=1), Happened(number=2))
    consume(writer())
    wait_until(lambda: values() == [1, 2])
    append(Happened(number=3))
    wait_until(lambda: values() == [1, 2, 3])
    wait_until(lambda: pending() == 0)


@pytest.mark.database
def test_the_same_event_twice_is_handled_once(things, consume):
    fact = Happened(number=1)
    consume(writer())
    append(fact, fact, Happened(number=2))
    wait_until(lambda: 2 in values())
    append(fact, Happened(number=3))
    wait_until(lambda: 3 in values())
    assert values() == [1, 2, 3]


@pytest.mark.database
def test_two_groups_handle_the_same_event_each(things, consume):
    consume(writer("one"))
    consume(writer("two"))
    append(Happened(number=1))
    wait_until(lambda: values() == [1, 1])


@pytest.mark.database
def test_two_consumers_that_handle_the_same_event_at_once_handle_it_once(things):
    group, meet = declare(Group(GROUP)), threading.Barrier(2)

    @on(Happened, group=GROUP)
    def write(event):
        Thing.objects.create(value=event.number)

    fact, other, outcomes = Happened(number=1), Happened(number=2), []
    entries = [entry_of(fact, 1), entry_of(other, 2)]

    def work():
        meet.wait()
        try:
            outcomes.append(handling.handle(group, STREAM, entries))
        except (IntegrityError, OperationalError) as error:  # the consumer tries the whole batch again
            outcomes.append(error)
            outcomes.append(handling.handle(group, STREAM, entries))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values() == [1, 2]
    assert len([found for found in outcomes if not isinstance(found, Exception)]) == 2


def entry_of(event, position, tries=1):
    return handling.Entry(position, event.name, event.version, encode(event).encode(), tries)


@pytest.mark.database
def test_handlers_of_an_event_write_all_or_nothing(things):
    group = writer(tries=1)

    @on(Happened, group=GROUP)
    def fail(event):
        if event.number == 2:
            raise LookupError("never")

    events = [Happened(number=number) for number in (1, 2, 3)]
    outcome = handling.handle(group, STREAM, [entry_of(event, at) for at, event in enumerate(events, 1)])
    assert values() == [1, 3]
    assert len(outcome.through) == 3
    assert [(dead.position, dead.reason) for dead in DeadLetter.objects.all()] == [(2, "LookupError: never")]
    assert HandledEvent.objects.count() == 2


@pytest.mark.database
def test_a_handler_that_the_database_refuses_fails_alone(things):
    group = writer()
    outcome = handling.handle(
        group,
        STREAM,
        [entry_of(Happened(number=1), 1), entry_of(Happened(number=-1), 2), entry_of(Happened(number=3), 3)],
    )
    assert values() == [1, 3]
    assert [entry.position for entry in outcome.again] == [2]


@pytest.mark.database
def test_what_the_database_refuses_only_at_the_commit_fails_alone_and_is_given_up(things):
    group = declare(Group(GROUP, tries=2))

    @on(Happened, group=GROUP)
    def write(event):
        Thing.objects.create(value=event.number)
        if event.number == 2:
            Departure.objects.create(room_id=10**9, user_id=10**9, version=1)  # no such room, no such person

    events = [Happened(number=number) for number in (1, 2, 3)]
    outcome = handling.handle(group, STREAM, [entry_of(event, at) for at, event in enumerate(events, 1)])
    assert values() == [1, 3]
    assert [entry.position for entry in outcome.again] == [2]
    assert [entry.position for entry in outcome.through] == [1, 3]
    assert handling.handle(group, STREAM, [entry_of(events[1], 2, tries=2)]).through
    assert "IntegrityError" in DeadLetter.objects.get().reason


def test_others_kinds_in_the_stream_are_passed_over(things, consume):
    consume(writer())
    append(Elsewhere(number=9), Happened(number=1))
    wait_until(lambda: values() == [1])
    wait_until(lambda: pending() == 0)


# --- Tried again, and given up -------------------------------------------------------------------------------------


@pytest.mark.database
@pytest.mark.topology
def test_what_fails_is_tried_again_and_keeps_nobody(things, consume):
    declare(Group(GROUP))
    tries = []

    @on(Happened, group=GROUP)
    def fail_twice(event):
        if event.number == 1:
            tries.append(event.number)
            if len(tries) < 3:
                raise LookupError("not yet")
        Thing.objects.create(value=event.number)

    append(Happened(number=1), Happened(number=2))
    consume(next(groups.groups()))
    wait_until(lambda: values() == [1, 2])
    wait_until(lambda: pending() == 0)
    assert len(tries) == 3
    assert not DeadLetter.objects.exists()
    assert client(Role.STATE).zcard(keys.event_retries(STREAM, GROUP)) == 0


@pytest.mark.topology
def test_poison_ends_in_a_dead_letter_after_its_tries(things, consume):
    tries = []

    @on(Happened, group=GROUP)
    def poison(event):
        tries.append(1)
        raise LookupError("never")

    declared = next(groups.groups())
    append(Happened(number=1))
    consume(Group(GROUP, tries=4, handlers=declared.handlers, streams=declared.streams))
    wait_until(DeadLetter.objects.exists)
    dead = DeadLetter.objects.get()
    assert (dead.group, dead.stream, dead.position, dead.tries, len(tries)) == (GROUP, STREAM, 1, 4, 4)
    assert '"number":1' in dead.data
    wait_until(lambda: pending() == 0)


@pytest.mark.parametrize("outside", [False, True])
def test_a_condition_that_fails_is_tried_again_and_given_up_like_a_handler(things, consume, outside):
    declare(Group(GROUP, outside=outside, tries=3))

    @on(Happened, group=GROUP, where=lambda event: 1 / event.number)
    def write(event):
        Thing.objects.create(value=event.number)

    append(Happened(number=0), Happened(number=1))
    consume(next(groups.groups()))
    wait_until(lambda: values() == [1])
    wait_until(DeadLetter.objects.exists)
    dead = DeadLetter.objects.get()
    assert (dead.position, dead.tries, dead.reason) == (1, 3, "ZeroDivisionError: division by zero")
    wait_until(lambda: pending() == 0)


@pytest.mark.database
@pytest.mark.parametrize("said", ["\0", "\ud800"], ids=["NUL", "half a pair"])
def test_what_a_failing_handler_says_of_itself_may_be_no_text_to_the_database(things, said, caplog):
    caplog.set_level(logging.CRITICAL, "intellicolab.events")  # pytest's reports take no half pairs
    group = declare(Group(GROUP, tries=1))

    @on(Happened, group=GROUP)
    def fail(event):
        raise LookupError(f"before{said}after")

    entry = entry_of(Happened(number=1), 1)
    assert handling.handle(group, STREAM, [entry]).through == [entry]
    assert DeadLetter.objects.get().reason.startswith("LookupError: before")


@pytest.mark.database
def test_an_id_that_no_column_holds_stops_nobody(things):
    group, long = writer(), Happened(number=1, id="x" * 33)
    entries = [entry_of(long, 1), entry_of(Happened(number=2), 2)]
    assert handling.handle(group, STREAM, entries).through == entries
    assert values() == [2]
    assert "cannot be read" in DeadLetter.objects.get().reason


@pytest.mark.parametrize("outside", [False, True])
def test_a_handler_may_give_up_at_the_first_try(things, outside):
    group = declare(Group(GROUP, outside=outside))

    @on(Happened, group=GROUP)
    def give_up(event):
        raise handling.GiveUp("it will never be")

    entry = entry_of(Happened(number=1), 1)
    assert handling.handle(group, STREAM, [entry]).through == [entry]
    assert DeadLetter.objects.get().reason == "GiveUp: it will never be"
    assert not HandledEvent.objects.exists()  # so it can be replayed


@pytest.mark.parametrize(
    ("version", "data", "reason"), [(2, "{}", "version 2 is known"), (1, "{", "cannot be read"), (1, "\0", "cannot be")]
)
def test_what_cannot_be_read_is_a_dead_letter_at_once(things, consume, version, data, reason):
    consume(writer())
    row = NumberedRow(1, Happened.name, version, data, timezone.now())
    streams.append(STREAM, [row], 0, 1)
    append(Happened(number=2))
    wait_until(lambda: values() == [2])
    wait_until(DeadLetter.objects.exists)
    assert reason in DeadLetter.objects.get().reason
    wait_until(lambda: pending() == 0)


def test_the_pauses_between_tries_grow_to_ten_minutes():
    found = [[delay_ms(tries) / 1000 for _ in range(50)] for tries in range(1, 9)]
    for tries, longest in enumerate((1, 4, 16, 64, 256, 600, 600, 600)):
        assert longest / 2 <= min(found[tries])
        assert max(found[tries]) <= longest
        assert len(set(found[tries])) > 10


# --- Killed --------------------------------------------------------------------------------------------------------


@pytest.mark.topology
def test_what_a_killed_consumer_had_in_hand_is_taken_over(things, consume):
    """Killed between reading and acknowledging; the next one comes without any other entry."""
    group = writer(silence=0.2)
    append(Happened(number=1))
    stream = keys.event_stream(STREAM)
    client(Role.STATE).xgroup_create(stream, GROUP, id="0", mkstream=True)
    assert client(Role.STATE).xreadgroup(GROUP, "dead", {stream: ">"})
    consume(group)
    wait_until(lambda: values() == [1])
    wait_until(lambda: pending() == 0)


def test_many_entries_of_a_killed_consumer_are_all_taken_over(things, consume):
    group = writer(silence=0.05, batch=7)
    append(*(Happened(number=number) for number in range(50)))
    stream = keys.event_stream(STREAM)
    client(Role.STATE).xgroup_create(stream, GROUP, id="0", mkstream=True)
    client(Role.STATE).xreadgroup(GROUP, "dead", {stream: ">"})
    consume(group)
    wait_until(lambda: values() == list(range(50)))


def test_what_was_handled_and_not_acknowledged_is_not_handled_again(things, consume, monkeypatch):
    group = writer(silence=0.05)
    with monkeypatch.context() as patch:
        patch.setattr(Consumer, "_settle", lambda self, outcome: self.ask_to_stop())
        append(Happened(number=1))
        consume(group).join(10)
    assert (values(), pending()) == ([1], 1)
    consume(group, 1)
    wait_until(lambda: pending() == 0)
    assert values() == [1]


def test_a_slow_consumer_that_renews_keeps_its_entries(things, consume):
    group, calls, go_on = declare(Group(GROUP, silence=0.3)), [], threading.Event()

    @on(Happened, group=GROUP)
    def slow(event):
        calls.append(event.number)
        go_on.wait(10)

    append(Happened(number=1))
    first = consume(group)
    wait_until(lambda: calls)
    consume(group, 1)
    for _ in range(10):
        first.renew()
        time.sleep(0.1)
    assert calls == [1]
    go_on.set()
    wait_until(lambda: pending() == 0)
    assert calls == [1]


# --- Outside of the database ---------------------------------------------------------------------------------------


def outsider(done, **options):
    group = declare(Group(GROUP, outside=True, **options))

    @on(Happened, group=GROUP)
    def act(event):
        done(event)

    return group


def test_an_effect_outside_happens_once(things):
    done = []
    group, fact = outsider(lambda event: done.append(event.number)), Happened(number=1)
    for position in (1, 2):
        assert handling.handle(group, STREAM, [entry_of(fact, position)]).through
    assert done == [1]


def test_an_effect_that_failed_is_tried_again(things):
    tries = []

    def act(event):
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionRefusedError("nobody took it")

    group, entry = outsider(act), entry_of(Happened(number=1), 1)
    assert handling.handle(group, STREAM, [entry]).again == [entry]
    assert handling.handle(group, STREAM, [entry]).through == [entry]
    assert len(tries) == 2


def die(event):
    raise SystemExit


@pytest.mark.parametrize("repeatable", [False, True])
def test_who_is_killed_in_the_middle_leaves_a_dead_letter_unless_it_may_be_repeated(things, repeatable):
    done = []
    acts = [die, done.append]
    group = outsider(lambda event: acts.pop(0)(event), repeatable=repeatable)
    entry = entry_of(Happened(number=1), 1)
    with pytest.raises(SystemExit):
        handling.handle(group, STREAM, [entry])
    handling.handle(group, STREAM, [entry])
    assert len(done) == repeatable
    assert DeadLetter.objects.filter(reason=handling.UNKNOWN_OUTCOME).count() == (not repeatable)


def test_a_handler_may_say_that_it_does_not_know(things):
    def act(event):
        raise handling.OutcomeUnknown("the connection broke after the text")

    group, entry = outsider(act), entry_of(Happened(number=1), 1)
    assert handling.handle(group, STREAM, [entry]).through == [entry]
    assert DeadLetter.objects.get().reason == "the connection broke after the text"


# --- Outages -------------------------------------------------------------------------------------------------------


def test_an_outage_of_redis_is_outlived(things, consume, redis_server):
    consume(writer())
    append(Happened(number=1))
    wait_until(lambda: values() == [1])
    redis_server.kill()
    time.sleep(0.2)
    redis_server.start()
    wait_until(lambda: streams.last_position(STREAM) >= 0)
    append(Happened(number=2))
    wait_until(lambda: values() == [1, 2], 30)


def test_an_emptied_server_brings_nothing_twice(things, consume):
    fact = Happened(number=1)
    consume(writer())
    append(fact)
    wait_until(lambda: values() == [1])
    client(Role.STATE).flushall()
    append(fact, Happened(number=2))
    wait_until(lambda: 2 in values())
    assert values() == [1, 2]


def test_an_outage_of_the_database_loses_nothing_and_counts_no_try(things, consume, monkeypatch):
    away, asked, real = [True], [], handling.handle

    def handle(*args):
        asked.append(1)
        if away:
            raise OperationalError("the database is away")
        return real(*args)

    monkeypatch.setattr(module, "handle", handle)
    append(Happened(number=1))
    consume(writer(tries=1))
    wait_until(lambda: len(asked) >= 3)
    away.clear()
    wait_until(lambda: values() == [1])
    assert not DeadLetter.objects.exists()


def test_a_paused_group_stands_still_until_it_may_go_on(things, consume):
    group = writer()
    assert operations.pause(GROUP, "Alice")
    append(Happened(number=1))
    consume(group)
    consume(writer("other"))
    wait_until(lambda: values() == [1])
    time.sleep(0.1)
    assert values() == [1]
    client(Role.STATE).flushall()
    append(Happened(number=1))
    wait_until(lambda: values() == [1, 1])  # of the other group, once more
    time.sleep(0.1)
    assert values() == [1, 1]
    assert operations.resume(GROUP)
    wait_until(lambda: values() == [1, 1, 1])


def test_the_worker_runs_the_groups_that_are_named(things):
    writer("one")
    service = module.Consumers([writer("two")])
    service.start()
    append(Happened(number=1))
    wait_until(lambda: values() == [1])
    service.stop()
    state = client(Role.STATE).xinfo_groups(keys.event_stream(STREAM))
    assert [group["name"] for group in state] == [b"two"]


# --- Trimming ------------------------------------------------------------------------------------------------------


def positions():
    return [int(place.split(b"-")[0]) for place, _fields in client(Role.STATE).xrange(keys.event_stream(STREAM))]


def make_group(name):
    client(Role.STATE).xgroup_create(keys.event_stream(STREAM), name, id="0", mkstream=True)


def take(name, count, consumer="c"):
    stream = keys.event_stream(STREAM)
    answer = client(Role.STATE).xreadgroup(name, consumer, {stream: ">"}, count=count)
    return [place for _key, entries in answer for place, _fields in entries]


def acknowledge(name, places):
    client(Role.STATE).xack(keys.event_stream(STREAM), name, *places)


@pytest.mark.topology
def test_only_what_every_group_has_acknowledged_goes():
    append(*(Happened(number=number) for number in range(1, 6)))
    make_group("quick")
    make_group("slow")
    acknowledge("quick", take("quick", 5))
    assert streams.sweep(STREAM, ["quick", "slow"]) == 0
    taken = take("slow", 4)
    assert streams.sweep(STREAM, ["quick", "slow"]) == 0
    acknowledge("slow", [taken[0], taken[1], taken[3]])
    assert streams.sweep(STREAM, ["quick", "slow"]) == 2
    assert positions() == [3, 4, 5]
    acknowledge("slow", [taken[2]])
    assert streams.sweep(STREAM, ["quick", "slow"]) == 2
    assert positions() == [5]
    assert streams.last_position(STREAM) == 5


def test_a_group_that_has_yet_to_come_loses_nothing():
    append(Happened(number=1))
    make_group("quick")
    acknowledge("quick", take("quick", 1))
    assert streams.sweep(STREAM, ["quick", "to come"]) == 0
    make_group("to come")
    acknowledge("to come", take("to come", 1))
    assert streams.sweep(STREAM, ["quick", "to come"]) == 1


def test_a_stream_without_groups_keeps_a_few(monkeypatch):
    monkeypatch.setattr(streams, "SHOWN", 2)
    append(*(Happened(number=number) for number in range(5)))
    assert streams.sweep(STREAM, []) == 3
    assert streams.sweep("never-filled", []) == 0


def test_a_group_that_nobody_declares_holds_the_entries_until_it_is_silent(monkeypatch, caplog):
    append(Happened(number=1))
    make_group("quick")
    make_group("old")
    acknowledge("quick", take("quick", 1))
    take("old", 1)
    assert streams.sweep(STREAM, ["quick"]) == 0
    monkeypatch.setattr(streams, "GROUP_GONE_MS", 0)
    assert streams.sweep(STREAM, ["quick"]) == 1
    assert "The group old" in caplog.text


def test_consumers_that_went_away_are_removed_but_not_with_what_they_hold(monkeypatch):
    append(Happened(number=1), Happened(number=2))
    make_group("quick")
    take("quick", 1, "holds")
    acknowledge("quick", take("quick", 1, "gone"))
    monkeypatch.setattr(streams, "CONSUMER_GONE_MS", 0)
    streams.sweep(STREAM, ["quick"])
    found = client(Role.STATE).xinfo_consumers(keys.event_stream(STREAM), "quick")
    assert [consumer["name"] for consumer in found] == [b"holds"]
