"""Rooms and messages in the database: what is allowed, what is refused, and that numbers have no gaps."""

import threading

import pytest
from django.db import connection, connections

from realtime import changes, directory, queries, services
from realtime.errors import ChatError
from realtime.models import Membership, Message, Room
from realtime.services import NewMessage, changing, members, messages, post_message, post_messages, rooms

pytestmark = pytest.mark.database


@pytest.fixture
def room(alice):
    return services.create_room(alice, "General")


def say(user, room, text="hello", client_id=None, **fields):
    return NewMessage(room.pk, user.pk, client_id or f"{user.pk}-{text}", text, **fields)


def code_of(call, *arguments, **keywords):
    with pytest.raises(ChatError) as caught:
        call(*arguments, **keywords)
    return caught.value.code


# --- Rooms ---------------------------------------------------------------------------------------------------------


def test_who_makes_a_room_owns_it(alice, room):
    assert Membership.objects.get(room=room, user=alice).role == Membership.Role.OWNER


def test_two_open_rooms_cannot_share_a_name_in_any_case(alice, room):
    assert code_of(services.create_room, alice, "general") == "name_taken"
    services.create_room(alice, "general", kind=Room.Kind.PRIVATE)


def test_hidden_characters_make_no_other_name_of_a_room(alice, room):
    assert services.create_room(alice, "Kit\u202echen\0  Sink").name == "Kitchen Sink"
    assert code_of(services.create_room, alice, "Gen\u200beral") == "name_taken"


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "\u200b\u202e"])
def test_a_room_needs_a_name(alice, name):
    assert code_of(services.create_room, alice, name) == "bad_name"


def test_joining_twice_is_joining_once(room, bob):
    services.join_room(bob, room)
    services.join_room(bob, room)
    assert room.memberships.filter(user=bob).count() == 1


def test_a_private_room_is_entered_by_being_added(alice, bob, charlie):
    room = services.create_room(alice, "Secret", kind=Room.Kind.PRIVATE)
    assert code_of(services.join_room, bob, room) == "not_open"
    assert code_of(services.add_member, charlie, room, bob) == "not_member"
    services.add_member(alice, room, bob)
    assert queries.room_for(bob, room.pk) == room


def test_a_room_that_is_not_ones_own_does_not_exist(alice, bob):
    room = services.create_room(alice, "Secret", kind=Room.Kind.PRIVATE)
    assert code_of(queries.room_for, bob, room.pk) == "no_room"
    assert code_of(queries.room_for, bob, 10**9) == "no_room"


def test_a_direct_room_is_one_for_both(alice, bob):
    room = services.open_direct_room(alice, bob)
    assert services.open_direct_room(bob, alice) == room
    assert [entry.title for entry in queries.rooms_of(alice)] == ["Bob"]
    assert [entry.title for entry in queries.rooms_of(bob)] == ["Alice"]
    assert code_of(services.open_direct_room, alice, alice) == "oneself"
    assert code_of(services.add_member, alice, room, bob) == "direct_room"


def test_the_only_owner_cannot_leave_the_others_behind(alice, bob, room):
    services.join_room(bob, room)
    assert code_of(services.leave_room, alice, room) == "last_owner"
    services.leave_room(bob, room)
    services.leave_room(alice, room)
    assert not room.memberships.exists()


def test_only_an_owner_renames_and_archives(alice, bob, room):
    services.join_room(bob, room)
    assert code_of(services.update_room, bob, room, "Mine", "") == "not_owner"
    assert code_of(services.archive_room, bob, room) == "not_owner"
    assert services.update_room(alice, room, "  New   name ", "A topic").name == "New name"


def test_an_archived_room_is_read_only(alice, room):
    post_message(say(alice, room))
    services.archive_room(alice, room)
    assert code_of(post_message, say(alice, room, "more")) == "archived"
    assert len(queries.messages_before(room.pk)) == 1
    services.create_room(alice, "General")  # its name is free again


@pytest.mark.parametrize("act", ["update", "archive", "add", "remove", "promote", "delete"])
def test_who_is_put_out_while_they_wait_for_the_room_decides_nothing_in_it(alice, bob, charlie, room, monkeypatch, act):
    """The other transaction has the room first, and commits when ours comes to lock it."""
    other = services.join_room(bob, room)
    post_message(say(bob, room))
    message = Message.objects.get(room=room)

    def locked(room_id):
        Membership.objects.filter(room=room_id, user=alice).delete()
        return changing.locked(room_id)

    for module in (members, messages, rooms):
        monkeypatch.setattr(module, "locked", locked)
    acts = {
        "update": (services.update_room, alice, room, "Mine", ""),
        "archive": (services.archive_room, alice, room),
        "add": (services.add_member, alice, room, charlie),
        "remove": (services.remove_member, alice, other),
        "promote": (services.make_owner, alice, other),
        "delete": (services.delete_message, alice, message),
    }
    assert code_of(*acts[act]) == "not_member"


def test_a_room_that_was_open_a_moment_ago_lets_nobody_in(alice, bob, room):
    before = Room.objects.get(pk=room.pk)
    services.archive_room(alice, room)
    assert code_of(services.join_room, bob, before) == "archived"
    assert code_of(services.add_member, alice, before, bob) == "archived"


# --- Messages ------------------------------------------------------------------------------------------------------


def test_numbers_and_versions_count_from_one(alice, room):
    outcomes = post_messages([say(alice, room, text) for text in ("a", "b", "c")])
    assert [(place.number, place.version) for place in outcomes] == [(1, 1), (2, 2), (3, 3)]
    room.refresh_from_db()
    assert (room.last_number, room.last_version) == (3, 3)


def test_the_same_sender_and_client_id_is_the_same_message(alice, bob, room):
    services.join_room(bob, room)
    first = post_message(say(alice, room, "hello", "id-1"))
    again = post_message(say(alice, room, "hello", "id-1"))
    assert (again.number, again.version, again.again) == (first.number, first.version, True)
    assert post_message(say(bob, room, "hello", "id-1")).number == 2  # another sender's id is another message
    assert Message.objects.count() == 2


def test_a_resend_in_the_same_batch_is_found_too(alice, room):
    outcomes = post_messages([say(alice, room, "x", "id-1"), say(alice, room, "x", "id-1")])
    assert [place.number for place in outcomes] == [1, 1]
    assert Message.objects.count() == 1


def test_a_refused_message_fails_alone(alice, bob, room, settings):
    settings.MESSAGE_MAX_LENGTH = 10
    outcomes = post_messages(
        [
            say(alice, room, "one"),
            say(bob, room, "two"),
            say(alice, room, "   "),
            say(alice, room, "far too long a text"),
            NewMessage(10**9, alice.pk, "z", "nowhere"),
            say(alice, room, "six"),
        ]
    )
    codes = [outcome.code if isinstance(outcome, ChatError) else outcome.number for outcome in outcomes]
    assert codes == [1, "not_member", "empty", "too_long", "no_room", 2]


def test_a_deactivated_person_cannot_write(alice, room):
    alice.is_active = False
    alice.save()
    assert code_of(post_message, say(alice, room)) == "inactive"


def test_nul_bytes_are_dropped(alice, room):
    post_message(say(alice, room, "a\0b", "id-1"))
    assert Message.objects.get().text == "ab"


def test_a_deleted_message_leaves_a_tombstone(alice, bob, room):
    services.join_room(bob, room)
    post_message(say(alice, room, "secret"))
    message = Message.objects.get()
    assert code_of(services.delete_message, bob, message) == "not_owner"
    services.delete_message(alice, message)
    services.delete_message(alice, message)
    found = changes.since(room.pk, 2)
    assert [(row["number"], row["version"], row["html"], row["deleted"]) for row in found.changes] == [(1, 3, "", True)]
    assert found.upto == 3
    assert post_message(say(alice, room, "next")).number == 2


def test_history_goes_back_page_by_page(alice, room):
    post_messages([say(alice, room, str(n)) for n in range(120)])
    newest = queries.messages_before(room.pk, limit=50)
    older = queries.messages_before(room.pk, before=newest[0]["number"], limit=50)
    assert [row["number"] for row in older + newest] == list(range(21, 121))
    assert queries.messages_after(room.pk, after=older[-1]["number"], limit=50) == newest


def test_posting_a_batch_costs_the_same_queries_whatever_its_size(alice, room, django_assert_num_queries):
    for size in (1, 50):
        with django_assert_num_queries(
            10
        ):  # savepoint, rooms, members, resends, people, insert, room, positions, facts, release
            post_messages([say(alice, room, f"{size}-{n}") for n in range(size)])


@pytest.mark.django_db(transaction=True)
def test_writers_of_several_threads_leave_no_gap(make_user):
    alice, bob = make_user("alice"), make_user("bob")
    room = services.create_room(alice, "General")
    services.join_room(bob, room)

    def write(user):
        for n in range(20):
            post_message(say(user, room, str(n)))
        connection.close()

    threads = [threading.Thread(target=write, args=(user,)) for user in (alice, bob, alice)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connections.close_all()
    numbers = list(Message.objects.order_by("number").values_list("number", flat=True))
    assert numbers == list(range(1, 41))  # both of the threads of alice sent the same 20


def test_the_room_list_takes_the_same_queries_however_long_it_is(alice, bob, charlie, django_assert_num_queries):
    for n in range(10):
        services.create_room(alice, f"Room {n}")
    for other in (bob, charlie):
        services.open_direct_room(alice, other)
    with django_assert_num_queries(4):  # memberships twice; a transaction passes the cache by: rooms, profiles
        assert len(queries.rooms_of(alice)) == 12


def test_the_directory_shows_open_rooms_only(alice, bob):
    services.create_room(alice, "Open")
    services.create_room(alice, "Secret", kind=Room.Kind.PRIVATE)
    services.archive_room(alice, services.create_room(alice, "Old"))
    listed = directory.page(1).rooms
    assert [(room.name, room.people) for room in listed] == [("Open", 1)]
    rooms = {room.id for room in listed}
    assert queries.joined_among(alice, rooms) == rooms
    assert queries.joined_among(bob, rooms) == set()
