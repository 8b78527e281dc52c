"""What a client is told that was away: messages, tombstones, settings and people, in the order of their versions."""

import threading

import pytest
from django.db import connections

from realtime import changes, services
from realtime.errors import ChatError
from realtime.models import Membership, Message, Room
from realtime.services import NewMessage

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def room(alice):
    return services.create_room(alice, "Tea")


def say(room, user, *texts):
    services.post_messages([NewMessage(room.pk, user.pk, f"{user.pk}-{text}", text) for text in texts])


def message(room, number):
    return Message.objects.select_related("room").get(room=room, number=number)


def told(room, version, **options):
    """(type, version, and what tells it from others) of each change."""
    marks = ("number", "name", "role", "left")
    return [
        (change["type"], change["version"], *(change[mark] for mark in marks if mark in change))
        for change in changes.since(room.pk, version, **options).changes
    ]


def test_everything_that_happens_in_a_room_has_a_version_of_its_own(alice, bob, charlie, room):
    say(room, alice, "one", "two")
    services.join_room(bob, room)
    services.update_room(alice, room, "Coffee", "strong")
    services.join_room(charlie, room)
    services.make_owner(alice, room.memberships.get(user=bob))
    services.edit_message(alice, message(room, 1), "one, but better")
    services.delete_message(alice, message(room, 2))
    services.leave_room(charlie, room)
    assert told(room, 0) == [
        ("room.settings", 4, "Coffee"),
        ("room.member", 6, "owner"),
        ("message.new", 7, 1),
        ("message.new", 8, 2),
        ("room.member", 9, True),
    ]
    assert told(room, 6) == told(room, 0)[2:]
    assert changes.since(room.pk, 0).upto == 9
    assert changes.since(room.pk, 9).changes == []


def test_who_comes_back_is_a_member_again_and_no_tombstone(alice, bob, room):
    for _ in range(2):
        services.join_room(bob, room)
        services.leave_room(bob, room)
    services.join_room(bob, room)
    assert told(room, 0) == [("room.member", 5, "member")]


def test_what_changes_nothing_makes_no_version(alice, bob, room):
    say(room, alice, "one")
    services.join_room(bob, room)
    services.join_room(bob, room)
    services.edit_message(alice, message(room, 1), "one")
    owner = room.memberships.get(user=alice)
    services.make_owner(alice, owner)
    services.archive_room(alice, room)
    services.archive_room(alice, room)
    assert Room.objects.get(pk=room.pk).last_version == 3


def test_pages_are_cut_across_all_kinds_of_changes(alice, bob, charlie, room):
    services.join_room(bob, room)
    say(room, alice, "one", "two")
    services.update_room(alice, room, "Coffee", "")
    services.join_room(charlie, room)
    seen, version, more = [], 0, True
    while more:
        found = changes.since(room.pk, version, limit=2)
        seen += [change["version"] for change in found.changes]
        version, more = found.upto, found.more
    assert seen == [1, 2, 3, 4, 5]
    assert version == 5


def test_who_is_too_far_behind_starts_again(alice, room, monkeypatch):
    monkeypatch.setattr(changes, "MOST", 3)
    say(room, alice, *"abcde")
    assert changes.since(room.pk, 1).reset
    assert not changes.since(room.pk, 2).reset


def test_what_changes_while_rows_are_read_is_left_for_the_next_question(alice, room, monkeypatch):
    """A message of version 3 that came while the settings of version 2 were missed would hide them."""
    say(room, alice, "one")
    looked = changes._changed

    def slowly(found, version, limit):
        other = threading.Thread(target=change_meanwhile)
        other.start()
        other.join()
        return looked(found, version, limit)

    def change_meanwhile():
        services.update_room(alice, room, "Coffee", "")
        say(room, alice, "two")
        connections.close_all()

    with monkeypatch.context() as slow:
        slow.setattr(changes, "_changed", slowly)
        found = changes.since(room.pk, 0)
    assert ([change["version"] for change in found.changes], found.upto) == ([1], 1)
    assert told(room, found.upto) == [("room.settings", 2, "Coffee"), ("message.new", 3, 2)]


# --- Edits ---------------------------------------------------------------------------------------------------------


def code_of(call, *arguments):
    with pytest.raises(ChatError) as caught:
        call(*arguments)
    return caught.value.code


def test_an_edit_keeps_the_number_and_says_that_it_is_one(alice, room):
    say(room, alice, "one", "two")
    services.edit_message(alice, message(room, 1), "*first*")
    [change] = changes.since(room.pk, 2).changes
    assert (change["number"], change["version"], change["edited"], change["html"]) == (
        1, 3, True, "<p><em>first</em></p>",
    )  # fmt: skip


def test_only_the_author_edits_and_only_what_is_there(alice, bob, room):
    services.join_room(bob, room)
    say(room, bob, "mine", "gone")
    assert code_of(services.edit_message, alice, message(room, 1), "changed") == "not_author"
    services.delete_message(bob, message(room, 2))
    assert code_of(services.edit_message, bob, message(room, 2), "back") == "deleted"
    assert message(room, 2).text == ""
    for text, code in ((" ", "empty"), ("x" * 8001, "too_long")):
        assert code_of(services.edit_message, bob, message(room, 1), text) == code
    services.leave_room(bob, room)
    assert code_of(services.edit_message, bob, message(room, 1), "from outside") == "not_member"
    services.join_room(bob, room)
    services.archive_room(alice, room)
    assert code_of(services.edit_message, bob, message(room, 1), "too late") == "archived"
    assert message(room, 1).text == "mine"


def test_an_owner_puts_somebody_out_and_others_may_not(alice, bob, charlie, room):
    for user in (bob, charlie):
        services.join_room(user, room)
    of_charlie = Membership.objects.get(room=room, user=charlie)
    assert code_of(services.remove_member, bob, of_charlie) == "not_owner"
    services.remove_member(alice, of_charlie)
    assert not Membership.objects.filter(room=room, user=charlie).exists()
    assert told(room, 2) == [("room.member", 3, True)]
