"""Who is named in a message, how it is shown, and how many namings wait to be read."""

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from django.db import connection, transaction
from django.db.models import Q

from intellicolab.events import groups, handling
from intellicolab.events.models import HandledEvent
from intellicolab.events.schema import encode
from realtime import events, mentions, positions, queries, services
from realtime.events import MessageCreated, MessageDeleted, MessageEdited
from realtime.handlers import MENTIONS
from realtime.markdown import render
from realtime.models import Membership, Mention, Message
from realtime.services import NewMessage

from .behind import closing

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def room(alice, bob):
    room = services.create_room(alice, "Tea")
    services.join_room(bob, room)
    return room


def say(room, user, text):
    services.post_messages([NewMessage(room.pk, user.pk, f"{user.pk}-{text}", text)])


def waiting(user, room):
    """As pages have it, and `hello`."""
    count = queries.entry_for(user, room.pk).mentions
    standing = queries.standing_of(user.pk, positions.waiting(user.pk, Q()))
    assert standing.mentions == ({room.pk: count} if count else {})
    return count


def test_a_name_is_marked_and_counts_until_it_is_read(alice, bob, room, catch_up):
    say(room, alice, "@Bob, tea?")
    say(room, alice, "@bob!")
    say(room, alice, "or not")
    catch_up()
    assert f'<span class="mention" data-person="{bob.pk}">@Bob</span>, tea?' in Message.objects.get(number=1).html
    assert (waiting(bob, room), waiting(alice, room)) == (2, 0)
    services.mark_read(bob.pk, room.pk, 1)
    assert waiting(bob, room) == 1
    services.mark_unread(bob.pk, room.pk, 1)
    assert waiting(bob, room) == 2
    services.mark_read(bob.pk, room.pk, 3)
    assert waiting(bob, room) == 0


def test_the_longest_name_is_meant(alice, room, make_user, catch_up):
    longer = make_user("bob builder")
    services.join_room(longer, room)
    say(room, alice, "@Bob Builder can we fix it?")
    catch_up()
    assert list(Mention.objects.values_list("membership__user", flat=True)) == [longer.pk]


@pytest.mark.parametrize(
    "text", ["bob@Bob.org", "`@Bob`", "```\n@Bob\n```", "@Bobby", "@@Bob", "@ Bob", "\\@Bob", "[@](http://a.b)Bob"]
)
def test_what_is_no_name_names_nobody(alice, room, text, catch_up):
    say(room, alice, text)
    catch_up()
    assert not Mention.objects.exists()


def test_neither_oneself_nor_who_is_not_in_the_room_is_told(alice, room, charlie, catch_up):
    say(room, alice, "@Alice and @Charlie")
    catch_up()
    assert not Mention.objects.exists()


def test_an_edit_names_others_and_a_deletion_nobody(alice, bob, room, charlie, catch_up):
    services.join_room(charlie, room)
    say(room, alice, "@Bob")
    catch_up()
    message = Message.objects.select_related("room").get()
    services.edit_message(alice, message, "@Charlie")
    catch_up()
    assert (waiting(bob, room), waiting(charlie, room)) == (0, 1)
    services.delete_message(alice, message)
    catch_up()
    assert waiting(charlie, room) == 0


def test_a_person_cannot_be_named_by_writing_the_markup(alice, bob, room, catch_up):
    say(room, alice, f'<span class="mention" data-person="{bob.pk}">@Nobody</span>')
    catch_up()
    assert not Mention.objects.exists()


def test_a_text_without_at_costs_no_query(room, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert mentions.named_in(["no names", "here"]) == {}


def test_very_many_names_are_bounded_and_are_their_senders_own_loss(alice, django_assert_num_queries):
    flood = " ".join(f"@0name{n}" for n in range(2000))
    with django_assert_num_queries(1):
        assert mentions.named_in([flood]) == {}
    with django_assert_num_queries(3):
        assert mentions.named_in([f"{flood} {n}".replace("@0", f"@{n}") for n in range(20)] + ["@Alice"]) == {
            "alice": [alice.pk]
        }
    assert "@Alice" in render("@Alice", named={})


# --- What the group makes of the facts -----------------------------------------------------------------------------


def handle(*facts, tries=1):
    """A batch as the group's consumer gets it."""
    [group] = [group for group in groups.groups() if group.name == MENTIONS]
    entries = [
        handling.Entry(at, fact.name, fact.version, encode(fact).encode(), tries) for at, fact in enumerate(facts, 1)
    ]
    return handling.handle(group, events.STREAM, entries)


def created(room, user, number=1):
    return MessageCreated(room_id=room.pk, number=number, author_id=user.pk, names=True)


def edited(room, user, number=1):
    return MessageEdited(room_id=room.pk, number=number, by_id=user.pk, names=True)


def deleted(room, user, number=1):
    return MessageDeleted(room_id=room.pk, number=number, author_id=user.pk, by_id=user.pk, names=True)


def test_a_mention_counts_once_whatever_comes_again(alice, bob, room):
    say(room, alice, "@Bob and @Bob")
    fact = created(room, alice)
    for _ in range(2):
        handle(fact, fact, created(room, alice))  # delivered again, and told by another fact
    assert waiting(bob, room) == 1


@pytest.mark.parametrize("order", list(itertools.permutations((created, edited, deleted), 3)))
@pytest.mark.parametrize("end", ["edited", "deleted"])
def test_the_row_counts_whatever_the_order_of_the_facts(alice, bob, room, charlie, order, end):
    services.join_room(charlie, room)
    say(room, alice, "@Bob")
    handle(created(room, alice))
    message = Message.objects.select_related("room").get()
    services.edit_message(alice, message, "@Charlie")
    if end == "deleted":
        services.delete_message(alice, message)
    handle(*(kind(room, alice) for kind in order))
    assert (waiting(bob, room), waiting(charlie, room)) == (0, 1 if end == "edited" else 0)


def test_facts_that_name_nobody_cost_the_database_nothing(alice, room, django_assert_num_queries):
    say(room, alice, "no names")
    with django_assert_num_queries(0):
        handle(*(MessageCreated(room_id=room.pk, number=1, author_id=alice.pk) for _ in range(100)))
    assert not HandledEvent.objects.exists()


def test_who_has_left_or_come_meanwhile_is_no_trouble(alice, bob, charlie, room):
    say(room, alice, "@Bob and @Charlie")
    services.leave_room(bob, room)
    services.join_room(charlie, room)
    assert handle(created(room, alice), created(room, alice, number=7)).again == []
    assert waiting(charlie, room) == 0  # what was said before is history
    services.join_room(bob, room)
    assert waiting(bob, room) == 0


def test_people_who_come_and_go_while_they_are_named_disturb_nothing(alice, bob, room):
    going = threading.Event()

    def come_and_go():
        while not going.is_set():
            services.leave_room(bob, room)
            services.join_room(bob, room)

    with ThreadPoolExecutor(1) as others:
        restless = others.submit(closing(come_and_go))
        try:
            for number in range(1, 21):
                say(room, alice, f"@Bob {number}")
                while handle(created(room, alice, number)).again:
                    pass  # he left between the look and the commit
        finally:
            going.set()
        restless.result(30)
    before = waiting(bob, room)
    say(room, alice, "@Bob, are you there?")
    handle(created(room, alice, 21))
    assert waiting(bob, room) == before + 1


def test_what_was_read_before_an_edit_is_not_noted_after_it(alice, bob, room):
    """Of two workers the one notes the message, and the other one its edit."""
    say(room, alice, "@Bob")
    message = Message.objects.select_related("room").get()

    def edit_and_note():
        services.edit_message(alice, message, "nobody")
        handle(edited(room, alice))

    with ThreadPoolExecutor(1) as others:
        with transaction.atomic():
            services.note_mentions(room.pk, 1, is_new=True)
            other = others.submit(closing(edit_and_note))
            wait([other], timeout=0.5)
        other.result(30)
    assert waiting(bob, room) == 0


def test_who_is_named_at_the_moment_when_they_leave_can_leave(alice, bob, room):
    """Their mentions are deleted first and then the membership; in between the group notes one more."""
    say(room, alice, "@Bob")
    with ThreadPoolExecutor(1) as others:
        noting = []

        def note_first(execute, sql, *rest):
            if sql.startswith('DELETE FROM "realtime_membership"'):
                noting.append(others.submit(closing(lambda: handle(created(room, alice)))))
                wait(noting, timeout=0.5)
            return execute(sql, *rest)

        with connection.execute_wrapper(note_first):
            services.leave_room(bob, room)
        noting[0].result(30)
    assert not Mention.objects.exists()


def test_who_posts_does_not_wait_for_the_group_that_notes_who_they_are_named(alice, bob, room):
    """The two lock memberships in orders of their own: if one waited for the other, both could."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer.")
    say(room, alice, "@Bob")
    with ThreadPoolExecutor(1) as others, transaction.atomic():
        services.note_mentions(room.pk, 1)
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # as the commit does: the foreign key's row is locked
        others.submit(closing(lambda: say(room, bob, "yes?"))).result(10)
    assert Membership.objects.get(user=bob, room=room).last_read_number == 2


# --- Who hears of it -----------------------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch):
    """[(person, frame)] of what goes to single people."""
    found = []
    publish = "realtime.publisher.publisher.publish_person"
    monkeypatch.setattr(publish, lambda person, frame, left=0: found.append((person, json.loads(frame))))
    return found


def test_those_are_told_for_whom_something_is_unread(alice, bob, room, charlie, catch_up, told):
    services.join_room(charlie, room)
    say(room, charlie, "@Alice and @Bob")
    services.post_message(NewMessage(room.pk, bob.pk, "read", "I have read that"))
    told.clear()
    for _ in range(2):
        catch_up()
    frame = {"type": "room.mention", "room": room.pk, "number": 1}
    assert told == [(alice.pk, {**frame, "mentioned": True})]
    services.delete_message(charlie, Message.objects.select_related("room").get(number=1))
    catch_up()
    assert told[1:] == [(alice.pk, {**frame, "mentioned": False})]
