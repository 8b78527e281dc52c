"""Who is named in a message, how it is shown, and how many namings wait to be read."""

import pytest

from realtime import mentions, queries, services
from realtime.markdown import render
from realtime.models import Mention, Message
from realtime.services import NewMessage

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def room(alice, bob):
    room = services.create_room(alice, "Tea")
    services.join_room(bob, room)
    return room


def say(room, user, text):
    services.post_messages([NewMessage(room.pk, user.pk, f"{user.pk}-{text}", text)])


def waiting(user, room):
    return queries.entry_for(user, room.pk).mentions


def test_a_name_is_marked_and_counts_until_it_is_read(alice, bob, room):
    say(room, alice, "@Bob, tea?")
    say(room, alice, "@bob!")
    say(room, alice, "or not")
    assert f'<span class="mention" data-person="{bob.pk}">@Bob</span>, tea?' in Message.objects.get(number=1).html
    assert (waiting(bob, room), waiting(alice, room)) == (2, 0)
    services.mark_read(bob.pk, room.pk, 1)
    assert waiting(bob, room) == 1
    services.mark_unread(bob.pk, room.pk, 1)
    assert waiting(bob, room) == 2
    services.mark_read(bob.pk, room.pk, 3)
    assert waiting(bob, room) == 0


def test_the_longest_name_is_meant(alice, room, make_user):
    longer = make_user("bob builder")
    services.join_room(longer, room)
    say(room, alice, "@Bob Builder can we fix it?")
    assert list(Mention.objects.values_list("membership__user", flat=True)) == [longer.pk]


@pytest.mark.parametrize(
    "text", ["bob@Bob.org", "`@Bob`", "```\n@Bob\n```", "@Bobby", "@@Bob", "@ Bob", "\\@Bob", "[@](http://a.b)Bob"]
)
def test_what_is_no_name_names_nobody(alice, room, text):
    say(room, alice, text)
    assert not Mention.objects.exists()


def test_neither_oneself_nor_who_is_not_in_the_room_is_told(alice, room, charlie):
    say(room, alice, "@Alice and @Charlie")
    assert not Mention.objects.exists()


def test_an_edit_names_others_and_a_deletion_nobody(alice, bob, room, charlie):
    services.join_room(charlie, room)
    say(room, alice, "@Bob")
    message = Message.objects.select_related("room").get()
    services.edit_message(alice, message, "@Charlie")
    assert (waiting(bob, room), waiting(charlie, room)) == (0, 1)
    services.delete_message(alice, message)
    assert waiting(charlie, room) == 0


def test_a_person_cannot_be_named_by_writing_the_markup(alice, bob, room):
    say(room, alice, f'<span class="mention" data-person="{bob.pk}">@Nobody</span>')
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
