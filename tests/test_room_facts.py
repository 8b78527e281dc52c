"""Facts about rooms: one a change, whichever way it came about, in the order of the changes."""

import threading
from datetime import timedelta
from functools import partial
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.signals import installed, joined
from intellicolab.events import schema
from intellicolab.events.models import OutboxRow
from realtime import events, services
from realtime.errors import ChatError
from realtime.events import (
    MemberJoined,
    MemberLeft,
    MessageCreated,
    MessageDeleted,
    MessageEdited,
    RoomArchived,
    RoomCreated,
)
from realtime.models import Membership, Message, Room
from realtime.services import NewMessage

from .behind import closing

pytestmark = [pytest.mark.database, pytest.mark.django_db]


def facts():
    """All there are, without what only the moment gives them."""
    rows = OutboxRow.objects.filter(stream=events.STREAM).order_by("pk")
    return [bare(schema.decode(row.name, row.version, row.data)) for row in rows]


def bare(fact):
    fields = {name: value for name, value in vars(fact).items() if name not in ("id", "at")}
    return type(fact), fields


def fact(kind, /, **fields):
    return bare(kind(**fields))


@pytest.fixture
def new():
    """Call for the facts since the last call."""
    seen = 0

    def since():
        nonlocal seen
        found = facts()[seen:]
        seen += len(found)
        return found

    return since


@pytest.fixture
def room(alice, new):
    room = services.create_room(alice, "Tea")
    new()
    return room


def say(room, user, *texts, **fields):
    services.post_messages([NewMessage(room.pk, user.pk, f"{user.pk}-{text}", text, **fields) for text in texts])


# --- Rooms and who is in them --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Room.Kind.OPEN, Room.Kind.PRIVATE])
def test_who_makes_a_room_is_in_it(alice, new, kind):
    room = services.create_room(alice, "Tea", kind=kind)
    assert new() == [
        fact(RoomCreated, room_id=room.pk, kind=str(kind), by_id=alice.pk),
        fact(MemberJoined, room_id=room.pk, user_id=alice.pk),
    ]


def test_a_direct_room_is_made_once_and_has_two_people(alice, bob, new):
    room = services.open_direct_room(alice, bob)
    services.open_direct_room(bob, alice)
    assert new() == [
        fact(RoomCreated, room_id=room.pk, kind="direct", by_id=alice.pk),
        fact(MemberJoined, room_id=room.pk, user_id=alice.pk),
        fact(MemberJoined, room_id=room.pk, user_id=bob.pk, by_id=alice.pk),
    ]


def test_the_first_room_and_who_comes_into_it(alice, bob, new):
    installed.send(None, user=alice)
    joined.send(None, user=bob)
    room = Room.objects.get()
    assert new() == [
        fact(RoomCreated, room_id=room.pk, kind="open", by_id=alice.pk),
        fact(MemberJoined, room_id=room.pk, user_id=alice.pk),
        fact(MemberJoined, room_id=room.pk, user_id=bob.pk),
    ]


def test_each_way_in_and_out_is_one_fact_however_often_it_is_tried(alice, bob, charlie, room, new):
    for _ in range(2):
        services.join_room(bob, room)
        services.add_member(bob, room, charlie)
    services.make_owner(alice, Membership.objects.get(room=room, user=bob))
    services.remove_member(alice, Membership.objects.get(room=room, user=charlie))
    services.remove_member(bob, Membership.objects.get(room=room, user=bob))
    with pytest.raises(ChatError, match="not in this room"):
        services.leave_room(bob, room)
    services.leave_room(alice, room)
    assert new() == [
        fact(MemberJoined, room_id=room.pk, user_id=bob.pk),
        fact(MemberJoined, room_id=room.pk, user_id=charlie.pk, by_id=bob.pk),
        fact(MemberLeft, room_id=room.pk, user_id=charlie.pk, by_id=alice.pk),
        fact(MemberLeft, room_id=room.pk, user_id=bob.pk),
        fact(MemberLeft, room_id=room.pk, user_id=alice.pk),
    ]


def test_what_an_administrator_does_is_told_as_theirs(make_user, bob, room, new, browser_of):
    services.join_room(bob, room)
    root = make_user("root", is_staff=True, is_superuser=True)
    new()
    browser, member = browser_of(root), Membership.objects.get(room=room, user=bob)
    for model, action, row in (("membership", "remove", member), ("room", "archive", room)):
        browser.post(f"/admin/realtime/{model}/", {"action": action, "_selected_action": [row.pk]})
    assert new() == [
        fact(MemberLeft, room_id=room.pk, user_id=bob.pk, by_id=root.pk),
        fact(RoomArchived, room_id=room.pk, by_id=root.pk),
    ]


def test_a_room_is_archived_once(alice, room, new):
    for _ in range(2):
        services.archive_room(alice, room)
    assert new() == [fact(RoomArchived, room_id=room.pk, by_id=alice.pk)]


# --- Messages ------------------------------------------------------------------------------------------------------


def test_a_batch_is_told_in_its_order_and_in_one_statement(alice, bob, room, new):
    services.join_room(bob, room)
    say(room, alice, "one")
    new()
    with CaptureQueriesContext(connection) as captured:
        say(room, alice, "one", "two", "@Bob", "@Alice")
    assert sum("events_outboxrow" in query["sql"] for query in captured) == 1
    assert new() == [
        fact(MessageCreated, room_id=room.pk, number=number, author_id=alice.pk, names=number == 3)
        for number in (2, 3, 4)
    ]


def test_a_fact_is_of_the_moment_of_its_message(alice, room):
    at = timezone.now() - timedelta(days=3)
    say(room, alice, "late", created_at=at)
    assert schema.decode("message:created", 1, OutboxRow.objects.latest("pk").data).at == at


def test_what_is_refused_is_told_nobody(alice, bob, room, new):
    say(room, bob, "not a member")
    say(room, alice, " ")
    assert new() == []


def test_an_edit_and_a_deletion_are_told_once_and_say_whether_anybody_was_named(alice, bob, room, new):
    services.join_room(bob, room)
    say(room, alice, "one")
    new()
    message = Message.objects.select_related("room").get()
    for text in ("@Bob", "@Bob", "two", "three"):
        services.edit_message(alice, message, text)
    for _ in range(2):
        services.delete_message(alice, message)
    of_it = {"room_id": room.pk, "number": 1, "by_id": alice.pk}
    assert new() == [
        *(fact(MessageEdited, **of_it, names=names) for names in (True, True, False)),
        fact(MessageDeleted, **of_it, author_id=alice.pk),
    ]


def test_what_is_rolled_back_is_told_nobody(alice, room, new):
    with transaction.atomic():
        say(room, alice, "one")
        services.archive_room(alice, room)
        transaction.set_rollback(True)
    assert new() == []


@pytest.mark.django_db(transaction=True)
def test_what_several_people_do_in_a_room_at_once_is_told_in_its_order(make_user, new):
    writers = [make_user(name) for name in ("alice", "bob", "charlie")]
    room = services.create_room(writers[0], "Tea")
    for writer in writers:
        services.join_room(writer, room)
    new()

    def write(user):
        for number in range(15):
            say(room, user, str(number))

    threads = [threading.Thread(target=closing(partial(write, user))) for user in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [fields["number"] for _kind, fields in new()] == list(range(1, 46))


def test_an_import_tells_of_its_room_and_not_of_its_messages(alice, new, tmp_path):
    log = tmp_path / "tea-2006-06-01.txt"
    log.write_text("[11:22] <bob> tea?\n[11:23] <charlie> yes\n")
    call_command("import_chat", log, format="irc", room="Tea", stdout=StringIO())
    room = Room.objects.get()
    assert room.last_number == 2
    assert new() == [fact(RoomCreated, room_id=room.pk, kind="open")]
