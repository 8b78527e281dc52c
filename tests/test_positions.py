"""Read positions: written behind, only ever up, never beyond the room, and seen at once by who read."""

import threading

import pytest
from django.db import connection, transaction
from django.db.models import Q

from intellicolab.cache.behind import drain
from realtime import positions, queries, services
from realtime.errors import ChatError
from realtime.models import Membership
from realtime.positions import Position
from realtime.services import NewMessage

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def room(alice, bob):
    room = services.create_room(alice, "Tea")
    services.join_room(bob, room)
    return room


@pytest.fixture
def browser(browser_of, bob):
    return browser_of(bob)


def say(room, user, *texts):
    services.post_messages([NewMessage(room.pk, user.pk, f"{user.pk}-{text}", text) for text in texts])


def unread(user, room):
    return queries.entry_for(user, room.pk).unread


def stored(user, room):
    return Membership.objects.get(user=user, room=room).last_read_number


# --- What counts as read -------------------------------------------------------------------------------------------


@pytest.mark.topology
@pytest.mark.database
def test_what_others_say_is_unread_until_it_is_read(alice, bob, room):
    say(room, alice, "one", "two", "three")
    assert unread(bob, room) == 3
    services.mark_read(bob.pk, room.pk, 2)
    assert unread(bob, room) == 1


@pytest.mark.topology
@pytest.mark.database
def test_marking_unread_goes_back_and_what_was_read_before_does_not_undo_it(alice, bob, room):
    say(room, alice, *"abcde")
    services.mark_read(bob.pk, room.pk, 5)
    services.mark_unread(bob.pk, room.pk, 3)
    assert unread(bob, room) == 3
    assert drain(10) == []  # what was read before lay in the buffer, and is older than the new epoch
    assert unread(bob, room) == 3
    services.mark_read(bob.pk, room.pk, 5, epoch=0)  # a tab that has not heard of it
    assert unread(bob, room) == 3
    services.mark_read(bob.pk, room.pk, 4, epoch=1)
    assert unread(bob, room) == 1
    say(room, bob, "mine")
    assert (unread(bob, room), drain(10)) == (0, [])
    assert unread(bob, room) == 0


def test_marking_unread_beyond_the_room_is_its_end(alice, bob, room):
    say(room, alice, "one")
    services.mark_unread(bob.pk, room.pk, 10**15)
    assert (unread(bob, room), stored(bob, room)) == (0, 1)


@pytest.mark.parametrize("position", [Position(0, 0), Position(3, 10**10), Position(131_071, 2**36 - 1)])
def test_a_position_keeps_its_parts_in_one_number_that_lua_can_compare(position):
    assert Position.unpack(position.pack()) == position
    assert position.pack() < 2**53
    assert Position(4, 0).pack() > Position(3, 2**36 - 1).pack()


@pytest.mark.topology
@pytest.mark.database
def test_ones_own_message_moves_ones_position_in_its_commit(alice, bob, room):
    say(room, alice, "one", "two")
    assert (stored(alice, room), unread(alice, room)) == (2, 0)
    say(room, bob, "three")
    assert (stored(bob, room), unread(bob, room), unread(alice, room)) == (3, 0, 1)


@pytest.mark.topology
@pytest.mark.database
def test_a_batch_of_several_people_and_rooms_moves_each_to_their_own_last(alice, bob, room):
    other = services.create_room(bob, "Coffee")
    batch = [(room, alice), (room, bob), (other, bob), (room, alice), (other, bob)]
    services.post_messages([NewMessage(place.pk, user.pk, f"m{n}", "hi") for n, (place, user) in enumerate(batch)])
    assert (stored(alice, room), stored(bob, room), stored(bob, other)) == (3, 2, 2)


@pytest.mark.database
def test_who_comes_later_has_nothing_unread(alice, room, make_user):
    say(room, alice, "one", "two")
    charlie = make_user("charlie")
    services.join_room(charlie, room)
    assert unread(charlie, room) == 0
    say(room, alice, "three")
    assert unread(charlie, room) == 1


def test_a_position_is_never_beyond_the_room(alice, bob, room):
    say(room, alice, "one")
    services.mark_read(bob.pk, room.pk, 10**15)
    say(room, alice, "two")
    assert unread(bob, room) == 1


def test_only_members_have_positions(alice, room, make_user):
    charlie = make_user("charlie")
    for place in (room.pk, 987654):
        with pytest.raises(ChatError) as caught:
            services.mark_read(charlie.pk, place, 1)
        assert caught.value.code == "no_room"


def test_the_tombstone_of_a_deleted_message_counts(alice, bob, room):
    say(room, alice, "one", "two")
    services.delete_message(alice, room.messages.get(number=2))
    assert unread(bob, room) == 2


# --- Behind --------------------------------------------------------------------------------------------------------


@pytest.mark.topology
def test_reading_costs_no_write_and_is_seen_at_once(alice, bob, room):
    say(room, alice, "one", "two")
    services.mark_read(bob.pk, room.pk, 2)
    assert (stored(bob, room), unread(bob, room)) == (0, 0)


@pytest.mark.topology
@pytest.mark.database
def test_the_flusher_brings_positions_to_the_database(alice, bob, room):
    say(room, alice, *"abcde")
    for number in (1, 4, 3):
        services.mark_read(bob.pk, room.pk, number)
    assert drain(10) == []
    assert (stored(bob, room), unread(bob, room)) == (4, 1)


@pytest.mark.topology
@pytest.mark.database
def test_a_late_flush_takes_back_nothing_that_was_read_by_writing(alice, bob, room):
    say(room, alice, "one", "two")
    services.mark_read(bob.pk, room.pk, 1)
    say(room, bob, "three")
    assert drain(10) == []
    assert stored(bob, room) == 3


@pytest.mark.topology
def test_nothing_is_sent_for_what_is_read_already(alice, bob, room):
    say(room, alice, "one")
    say(room, bob, "two")
    for number in (1, 2, 3):
        services.mark_read(bob.pk, room.pk, number)
    assert positions.waiting(bob.pk, Q()) == {}
    say(room, alice, "three")
    services.mark_read(bob.pk, room.pk, 3)
    assert list(positions.waiting(bob.pk, Q()).values()) == [Position(0, 3)]


@pytest.mark.database
def test_a_rolled_back_message_moves_nobody(alice, bob, room):
    say(room, alice, "one")
    with transaction.atomic():
        say(room, bob, "two")
        transaction.set_rollback(True)
    assert (stored(bob, room), unread(bob, room)) == (0, 1)


def test_without_redis_a_position_goes_to_the_database(alice, bob, room, redis_server):
    say(room, alice, "one", "two")
    redis_server.kill()
    services.mark_read(bob.pk, room.pk, 2)
    assert (stored(bob, room), unread(bob, room)) == (2, 0)


def test_what_waits_outlives_a_crash_of_redis(alice, bob, room, redis_server):
    say(room, alice, "one", "two")
    services.mark_read(bob.pk, room.pk, 2)
    redis_server.stop()
    redis_server.start()
    assert unread(bob, room) == 0
    assert drain(10) == []
    assert stored(bob, room) == 2


@pytest.mark.topology
def test_who_leaves_and_comes_back_begins_anew(alice, bob, room):
    say(room, alice, "one", "two")
    services.mark_read(bob.pk, room.pk, 1)
    services.leave_room(bob, room)
    services.join_room(bob, room)
    assert drain(10) == []
    assert (stored(bob, room), unread(bob, room)) == (2, 0)


@pytest.mark.topology
@pytest.mark.database
def test_committer_and_flusher_do_not_wait_for_each_other_for_ever(alice, bob, room):
    say(room, alice, *(f"first {n}" for n in range(20)))
    faults = []

    def write():
        try:
            for n in range(20):
                say(room, bob, f"bob {n}")
        except Exception as error:
            faults.append(error)
        finally:
            connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    for n in range(20):
        for user in (alice, bob):
            services.mark_read(user.pk, room.pk, n)
        drain(10)
    writer.join(30)
    assert faults == []
    assert stored(bob, room) == 40


# --- Pages ---------------------------------------------------------------------------------------------------------


def badge(browser, path="/sidebar"):
    return [part.partition("<")[0] for part in browser.get(path).content.decode().split('<span class="number">')[1:]]


def test_the_sidebar_tells_how_much_is_unread(alice, bob, room, browser):
    say(room, alice, *(f"m{n}" for n in range(7)))
    page = browser.get("/sidebar").content.decode()
    assert '<span class="badge"><span class="at"></span><span class="number">7</span>' in page
    services.mark_read(bob.pk, room.pk, 7)
    assert '<span class="badge" hidden>' in browser.get("/sidebar").content.decode()


def test_more_than_99_is_told_as_that(alice, room, browser):
    say(room, alice, *(f"m{n}" for n in range(120)))
    assert badge(browser) == ["99+"]


def test_opening_a_page_without_javascript_reads_what_it_shows(alice, bob, room, browser):
    say(room, alice, "one", "two")
    page = browser.get(f"/rooms/{room.pk}/").content.decode()
    picture = f"/rooms/{room.pk}/read?upto=2"
    assert f'<noscript><img src="{picture}"' in page
    assert unread(bob, room) == 2  # the page alone reads nothing: it may have been opened in a hidden tab
    assert browser.get(picture, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 204
    assert unread(bob, room) == 2
    assert browser.get(picture).status_code == 204
    assert unread(bob, room) == 0


def test_the_picture_is_for_members(room, make_user, client):
    client.force_login(make_user("charlie"))
    assert client.get(f"/rooms/{room.pk}/read?upto=1").status_code == 404


def test_another_process_sees_the_position_before_and_after_its_flush(site):
    one, two = site.people("paula", "quentin")
    code = (
        "from realtime import services; from realtime.services import NewMessage;"
        f" place = services.post_message(NewMessage({one['room']}, {one['id']}, 'positions', 'hello'));"
        " print('NUMBER', place.number)"
    )
    number = site.manage("shell", "-v", "0", "-c", code).stdout.split("NUMBER")[1].strip()
    assert b'<span class="badge"><span class="at">' in site.get("/sidebar", Cookie=two["cookie"])[1]
    read = f"from realtime import services; services.mark_read({two['id']}, {two['room']}, {number})"
    assert site.manage("shell", "-v", "0", "-c", read).returncode == 0
    assert b'<span class="badge"><span class="at">' not in site.get("/sidebar", Cookie=two["cookie"])[1]
    assert site.manage("drain").returncode == 0
    assert b'<span class="badge"><span class="at">' not in site.get("/sidebar", Cookie=two["cookie"])[1]
