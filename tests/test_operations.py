"""Operating the broker: dead letters replayed and discarded, groups paused, and what is wrong told in words."""

import logging
import threading
import time
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from intellicolab.events import handling, operations, problems, standing, streams, watch
from intellicolab.events.backlog import kept, pace, uncarried, unnumbered
from intellicolab.events.groups import Group, declare, named
from intellicolab.events.models import DeadLetter, HandledEvent, OutboxRow, Pause
from intellicolab.events.operations import discard, replay
from intellicolab.events.schema import encode
from intellicolab.redis import heartbeat, keys
from intellicolab.redis.client import Role, client
from intellicolab.redis.heartbeat import Heartbeat, workers

from .test_events import STREAM, Happened, happen, relay, wait_until
from .test_groups import GROUP, consume, entry_of, no_groups, outsider, pending, quick, things, values, writer

__all__ = ["consume", "no_groups", "quick", "relay", "things"]  # fixtures


def letter_of(event, group=GROUP, position=1, **fields):
    data = encode(event)
    return DeadLetter.objects.create(
        **{
            "group": group, "stream": STREAM, "position": position, "name": event.name, "version": event.version,
            "data": data, "reason": "LookupError: never", "tries": 8, **fields,
        }
    )  # fmt: skip


# --- Replay --------------------------------------------------------------------------------------------------------


@pytest.mark.database
@pytest.mark.topology
def test_what_is_replayed_goes_to_its_group_once_and_to_no_other(things, consume, relay):
    consume(writer())
    consume(writer("other"))
    letter = letter_of(Happened(number=7))
    assert replay([letter.pk]) == [letter.pk]
    assert not DeadLetter.objects.exists()
    happen(8)
    relay()
    wait_until(lambda: values() == [7, 8, 8])
    wait_until(lambda: pending() == pending("other") == 0)
    assert list(HandledEvent.objects.values_list("group", flat=True).order_by("group")) == ["other", GROUP, GROUP]


@pytest.mark.database
def test_two_who_replay_a_letter_at_once_replay_it_once(things):
    writer()
    letter, meet, counts = letter_of(Happened(number=7)), threading.Barrier(2), []

    def work():
        meet.wait()
        counts.append(len(replay([letter.pk])))
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == [0, 1]
    assert OutboxRow.objects.count() == 1


@pytest.mark.database
def test_a_replay_that_dies_leaves_the_letter_and_nothing_else(things, monkeypatch):
    group = outsider(lambda event: None)
    fact = Happened(number=7)
    HandledEvent.objects.create(group=group.name, event_id=fact.id, done=False)
    letter = letter_of(fact)

    def die(self, *args, **kwargs):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(transaction, "on_commit", die)
        with pytest.raises(SystemExit):
            replay([letter.pk])
    assert DeadLetter.objects.count() == HandledEvent.objects.filter(done=False).count() == 1
    assert OutboxRow.objects.count() == 0


@pytest.mark.database
def test_an_effect_nobody_knows_of_is_done_when_it_is_replayed(things, consume, relay):
    done = []
    group, fact = outsider(lambda event: done.append(event.number)), Happened(number=7)
    HandledEvent.objects.create(group=GROUP, event_id=fact.id, done=False)
    letter, other = letter_of(fact), letter_of(Happened(number=8), position=2)
    assert operations.uncertain([letter, other]) == [letter]
    replay([letter.pk])
    relay()
    consume(group)
    wait_until(lambda: done == [7])
    wait_until(lambda: HandledEvent.objects.filter(done=True).count() == 1)


@pytest.mark.database
def test_what_was_handled_meanwhile_is_not_handled_by_its_replay(things, consume, relay):
    group, fact = writer(), Happened(number=7)
    letter = letter_of(fact)
    assert handling.handle(group, STREAM, [entry_of(fact, 1)]).through
    replay([letter.pk])
    happen(8)
    relay()
    consume(group)
    wait_until(lambda: values() == [7, 8])


def test_a_letter_that_could_not_be_read_goes_again_as_it_was_and_fails_as_before(things, consume, relay):
    consume(writer())
    letter = letter_of(Happened(number=7), version=2, data="[not even JSON")
    assert replay([letter.pk]) == [letter.pk]
    relay()
    wait_until(DeadLetter.objects.exists)
    again = DeadLetter.objects.get()
    assert (again.version, again.data, again.tries) == (2, "[not even JSON", 1)
    assert again.pk != letter.pk


def test_a_letter_of_a_group_that_nobody_reads_for_stays(things):
    writer("other")
    gone, elsewhere = letter_of(Happened(number=7)), letter_of(Happened(number=8), group="other", stream="gone-events")
    assert replay([gone.pk, elsewhere.pk]) == []
    assert DeadLetter.objects.count() == 2
    assert not OutboxRow.objects.exists()


def test_what_is_replayed_for_a_group_that_lost_its_handler_becomes_a_letter_again(things):
    group = declare(Group(GROUP))
    entry = handling.Entry(5, "test:happened", 1, encode(Happened(number=7)).encode(), 1, GROUP)
    assert handling.handle(group, STREAM, [entry]).through == [entry]
    assert DeadLetter.objects.get().reason == handling.NOT_WANTED


@pytest.mark.database
def test_many_letters_go_in_their_order(things, relay, monkeypatch):
    monkeypatch.setattr(operations, "BATCH", 3)
    writer()
    letters = [letter_of(Happened(number=number), position=number) for number in range(1, 8)]
    mixed = [*reversed(letters[:3]), *letters[3:]]
    assert replay([letter.pk for letter in mixed]) == [letter.pk for letter in letters]
    relay()
    entries = client(Role.STATE).xrange(keys.event_stream(STREAM))
    assert [fields[b"d"].decode() for _place, fields in entries] == [letter.data for letter in letters]
    assert {fields[b"g"] for _place, fields in entries} == {GROUP.encode()}


@pytest.mark.django_db(transaction=True)
def test_an_unknown_outcome_is_remembered_for_as_long_as_its_letter(relay, monkeypatch):
    monkeypatch.setattr("intellicolab.events.relay.PRUNE_SECONDS", 0)
    long_ago = timezone.now() - timedelta(days=30)
    for done in (True, False):
        HandledEvent.objects.create(group=GROUP, event_id=f"{done}", done=done, at=long_ago)
    relay()
    assert [mark.done for mark in HandledEvent.objects.all()] == [False]


# --- Discard -------------------------------------------------------------------------------------------------------


@pytest.mark.database
def test_what_is_discarded_is_not_done_even_if_an_outage_brings_it_again(things):
    done = []
    group, fact = outsider(lambda event: done.append(event.number)), Happened(number=7)
    HandledEvent.objects.create(group=GROUP, event_id=fact.id, done=False)
    letters = [letter_of(fact), letter_of(Happened(number=8), position=2), letter_of(fact, position=3, data="{")]
    assert discard([letter.pk for letter in letters]) == [letter.pk for letter in letters]
    assert not DeadLetter.objects.exists()
    assert handling.handle(group, STREAM, [entry_of(fact, 1)]).through
    assert done == []


# --- Groups --------------------------------------------------------------------------------------------------------


@pytest.mark.database
def test_who_paused_a_group_is_known_and_the_first_one_stays(things):
    writer()
    assert operations.pause(GROUP, "Alice")
    assert not operations.pause(GROUP, "Bob")
    pause = Pause.objects.get(group=GROUP)
    assert (pause.by, timezone.now() - pause.at < timedelta(minutes=1)) == ("Alice", True)
    assert operations.resume(GROUP)
    assert not operations.resume(GROUP)
    assert not Pause.objects.exists()
    with pytest.raises(LookupError, match=f"The groups: {GROUP}"):
        operations.pause("typo", "Alice")


def test_groups_are_found_by_name_and_a_wrong_one_is_told():
    first, _second = declare(Group("one")), declare(Group("two"))
    assert named(["one"]) == [first]
    with pytest.raises(LookupError, match=r"no group six\. The groups: one, two"):
        named(["one", "six"])
    for name in ("none", "", "a/b", "x" * 65):
        with pytest.raises(ValueError, match="name"):
            declare(Group(name))


# --- How it stands -------------------------------------------------------------------------------------------------


def state_of(name=GROUP, stream=STREAM):
    [found] = [state for state in standing.standing() if state.name == stream]
    return found, next(group for group in found.groups if group.name == name)


def take(count, consumer="one"):
    stream = keys.event_stream(STREAM)
    [[_key, entries]] = client(Role.STATE).xreadgroup(GROUP, consumer, {stream: ">"}, count=count)
    return [place for place, _fields in entries]


def append_made(ago, *numbers):
    """Facts that were made so many seconds ago."""
    last, made = streams.last_position(STREAM), timezone.now() - timedelta(seconds=ago)
    rows = [
        OutboxRow(position=at, name=Happened.name, version=1, data=encode(Happened(number=number)), made_at=made)
        for at, number in enumerate(numbers, last + 1)
    ]
    streams.append(STREAM, rows, last, 1)


@pytest.mark.django_db
@pytest.mark.topology
def test_a_group_tells_what_waits_and_since_when():
    writer()
    append_made(600, 1)
    append_made(90, 2, 3, 4, 5)
    stream, group = state_of()
    assert (stream.length, stream.end, group.lag, group.pending, group.consumers) == (5, 5, 5, 0, [])
    assert 600 <= group.oldest < 620
    client(Role.STATE).xgroup_create(keys.event_stream(STREAM), GROUP, id="0")
    first, second = take(2)
    later = round(1000 * (time.time() + 30))
    client(Role.STATE).zadd(keys.event_retries(STREAM, GROUP), {first: later})
    stream, group = state_of()
    assert (group.lag, group.pending, group.retries, group.waiting) == (3, 2, 1, 5)
    assert 25 < group.next_try <= 30
    assert 600 <= group.oldest < 620
    assert 90 <= group.oldest_new < 110
    assert [(consumer.name, consumer.pending) for consumer in group.consumers] == [("one", 2)]
    client(Role.STATE).xack(keys.event_stream(STREAM), GROUP, first, second, *take(3))
    _stream, group = state_of()
    assert (group.waiting, group.oldest, group.oldest_new) == (0, None, None)


@pytest.mark.django_db
def test_streams_and_groups_that_never_were_stand_at_nothing():
    writer()
    stream, group = state_of()
    assert (stream.length, stream.end, stream.share, group.waiting, group.oldest, group.next_try) == (
        0,
        0,
        0,
        0,
        None,
        None,
    )


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_the_outbox_tells_what_waits_what_is_kept_and_how_fast_it_comes(relay, monkeypatch):
    assert (unnumbered().rows, kept(STREAM), pace(STREAM)) == (0, 0, None)
    happen(1, 2, 3)
    OutboxRow.objects.update(made_at=timezone.now() - timedelta(seconds=70))
    assert (unnumbered().rows, kept(STREAM)) == (3, 0)
    assert 70 <= unnumbered().oldest < 80
    relay()
    OutboxRow.objects.update(numbered_at=timezone.now() - timedelta(seconds=30))
    assert (unnumbered().rows, unnumbered().oldest, uncarried(STREAM, 3).rows, kept(STREAM)) == (0, None, 0, 3)
    assert 0.05 < pace(STREAM) <= 0.1
    assert uncarried(STREAM, 1).rows == 2
    monkeypatch.setattr("intellicolab.events.backlog.MOST", 1)
    assert uncarried(STREAM, 0).is_more


# --- Problems ------------------------------------------------------------------------------------------------------

ALIVE = heartbeat.Worker("host", 1, timezone.now(), {"groups": [GROUP]})
OTHER = heartbeat.Worker("host", 2, timezone.now(), {})


def group_state(**fields):
    return standing.GroupState(GROUP, STREAM, Group(GROUP), **fields)


def told(group, length=0, living=(ALIVE,)):
    return [problem.sentence for problem in problems.problems([stream_state(group, length)], living)]


def stream_state(group, length):
    return standing.StreamState(STREAM, length, bound=1000, groups=[group])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"lag": 5, "oldest": 299, "oldest_new": 299},
        {"pending": 1, "retries": 1, "oldest": 1700},
        {"lag": 1, "pending": 1, "retries": 1, "oldest": 1700, "oldest_new": 1},
        {"lag": 5, "oldest": 900, "oldest_new": 900, "pause": Pause(group=GROUP, by="Alice")},
    ],
)
def test_no_problem_is_told_of_a_group_that_works_tries_again_or_is_paused(fields):
    assert told(group_state(**fields), 799) == []


def test_what_is_wrong_is_told_with_the_place_to_look():
    [stalled] = told(group_state(lag=2, pending=1, oldest=720, oldest_new=300))
    assert stalled.startswith(f"The group {GROUP} does not get on with {STREAM}: 3 facts wait, the oldest for 12 min")
    assert len(told(group_state(pending=1, oldest=300))) == 1
    [idle] = told(group_state(lag=1), living=(OTHER,))
    assert idle.startswith(f"No worker runs the group {GROUP} for {STREAM}: 1 fact wait")
    [high] = told(group_state(lag=800), 800)
    assert high.startswith(f"The stream {STREAM} is 80 % full (800 of 1,000 entries); {GROUP} has 800 to go.")
    [full] = told(group_state(lag=999), 999)
    assert "is full (999 entries)" in full
    assert all("Look under Events" in sentence for sentence in (stalled, idle, high, full))
    assert told(group_state(), living=(OTHER,)) == []  # nobody runs it, and nothing waits
    [nobody] = told(group_state(lag=1), living=())
    assert nobody.startswith("No worker lives")


def test_the_watch_says_each_thing_once_and_when_it_is_over(caplog):
    caplog.set_level(logging.INFO, "intellicolab.events")
    wrong = [problems.Problem("stalled", "Five wait."), problems.Problem("high", "Half full.")]
    found = watch.Watch(lambda: list(wrong))
    found.round(None)
    wrong[:] = [problems.Problem("stalled", "Six wait.")]
    found.round(None)
    assert [record.getMessage() for record in caplog.records] == ["Half full.", "Five wait.", "No longer: Half full."]


# --- Heartbeat -----------------------------------------------------------------------------------------------------


@pytest.mark.topology
def test_a_worker_is_listed_with_what_it_runs_until_it_stops():
    living = Heartbeat(groups=lambda: ["one"], queues=lambda: {"default": 4})
    other = Heartbeat()
    living.start()
    other.start()
    wait_until(lambda: len(workers()) == 2)
    assert {"groups": ["one"], "queues": {"default": 4}} in [worker.runs for worker in workers()]
    living.stop()
    assert [worker.runs for worker in workers()] == [{}]
    other.stop()
    assert workers() == []


def test_a_worker_that_falls_silent_is_listed_no_longer(monkeypatch):
    monkeypatch.setattr(keys, "WORKER_TTL", 0.2)
    Heartbeat().beat()
    assert len(workers()) == 1
    wait_until(lambda: not workers())
    monkeypatch.undo()
    Heartbeat().beat()
    assert client(Role.STATE).zcard(keys.worker_index()) == 1
    assert 0 < client(Role.STATE).ttl(keys.worker_index()) <= keys.WORKER_TTL


def test_a_part_that_cannot_say_what_it_runs_ends_no_heartbeat(monkeypatch, caplog):
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.02)
    answers = iter([LookupError("broken"), LookupError("broken")])

    def part():
        if (error := next(answers, None)) is not None:
            raise error
        return "fine"

    living = Heartbeat(part=part)
    living.start()
    wait_until(workers)
    living.stop()
    assert caplog.text.count("cannot say that it lives") == 1
