"""The HTTP pages of chat: what they show, to whom, and what they answer to what is refused."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from accounts.models import Installation
from realtime import services
from realtime.models import Membership, Message, Room
from realtime.services import NewMessage
from realtime.timeline import lines

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def installed(alice):
    return Installation.objects.create(administrator=alice)


@pytest.fixture
def room(alice) -> Room:
    return services.create_room(alice, "Tea", topic="Leaves & water")


def post(room: Room, author, *texts: str) -> None:
    batch = [NewMessage(room.pk, author.pk, f"{text}-{n}", text) for n, text in enumerate(texts)]
    services.post_messages(batch)


ADDRESSES = (
    "/ /rooms/ /rooms/new/ /people/ /sidebar /rooms/1/ /rooms/1/messages /rooms/1/settings/ /rooms/1/export/".split()
)


@pytest.mark.parametrize("path", ADDRESSES)
def test_every_page_asks_strangers_to_sign_in(client, path):
    answer = client.get(path)
    assert answer.status_code == 302
    assert answer.url.startswith("/accounts/login/")


def test_home_leads_to_the_room_where_something_was_said_last(browser_of, alice, room):
    later = services.create_room(alice, "Coffee")
    post(later, alice, "first")
    post(room, alice, "second")
    assert browser_of(alice).get("/").url == f"/rooms/{room.pk}/"


def test_home_says_what_to_do_to_a_person_without_rooms(browser_of, bob):
    assert "You are in no room yet" in browser_of(bob).get("/").content.decode()


def test_a_room_shows_its_newest_messages_and_the_way_to_older_ones(browser_of, alice, room):
    post(room, alice, *(f"number {n}" for n in range(1, 61)))
    page = browser_of(alice).get(f"/rooms/{room.pk}/").content.decode()
    assert page.count('data-number="') == 50 + 1  # and the template of a row
    assert "<p>number 60</p>" in page
    assert "<p>number 10</p>" not in page
    assert 'href="?before=11"' in page
    older = browser_of(alice).get(f"/rooms/{room.pk}/?before=11").content.decode()
    assert "<p>number 10</p>" in older
    assert "To the newest messages" in older


def test_history_comes_as_json_with_the_version_it_was_made_from(browser_of, alice, room):
    post(room, alice, *(f"number {n}" for n in range(1, 61)))
    first = browser_of(alice).get(f"/rooms/{room.pk}/messages").json()
    assert [message["number"] for message in first["messages"]] == list(range(11, 61))
    assert (first["more"], first["version"]) == (True, 60)
    last = browser_of(alice).get(f"/rooms/{room.pk}/messages?before=11").json()
    assert [message["number"] for message in last["messages"]] == list(range(1, 11))
    assert last["more"] is False


def test_history_goes_on_towards_the_newest(browser_of, alice, room):
    post(room, alice, *(f"number {n}" for n in range(1, 61)))
    address = f"/rooms/{room.pk}/messages"
    page = browser_of(alice).get(f"{address}?after=5").json()
    assert [message["number"] for message in page["messages"]] == list(range(6, 56))
    assert (page["more"], page["version"]) == (True, 60)
    last = browser_of(alice).get(f"{address}?after=10").json()
    assert [message["number"] for message in last["messages"]] == list(range(11, 61))
    assert last["more"] is False
    assert browser_of(alice).get(f"{address}?after=60").json() == {"messages": [], "more": False, "version": 60}


def test_before_goes_above_after(browser_of, alice, room):
    post(room, alice, "one", "two", "three")
    page = browser_of(alice).get(f"/rooms/{room.pk}/messages?before=2&after=2").json()
    assert [message["number"] for message in page["messages"]] == [1]


def test_a_page_before_the_first_message_is_not_the_newest(browser_of, alice, room):
    post(room, alice, "only")
    assert "To the newest messages" in browser_of(alice).get(f"/rooms/{room.pk}/?before=1").content.decode()


@pytest.mark.parametrize("name", ["before", "after"])
@pytest.mark.parametrize("value", ["", "x", "-1", "1e9", "9" * 40, "²"])
def test_what_is_no_number_means_the_newest(browser_of, alice, room, name, value):
    post(room, alice, "only")
    page = browser_of(alice).get(f"/rooms/{room.pk}/messages", {name: value}).json()
    assert [message["number"] for message in page["messages"]] == [1]


@pytest.mark.parametrize("path", ["", "messages", "settings/"])
def test_a_private_room_is_not_there_for_others(browser_of, alice, bob, path):
    secret = services.create_room(alice, "Secret plans", kind=Room.Kind.PRIVATE)
    post(secret, alice, "hush")
    assert browser_of(alice).get(f"/rooms/{secret.pk}/{path}").status_code == 200
    answer = browser_of(bob).get(f"/rooms/{secret.pk}/{path}")
    assert answer.status_code == 404
    assert "Secret plans" not in answer.content.decode()
    assert "Secret plans" not in browser_of(bob).get("/rooms/").content.decode()


def test_an_open_room_is_offered_to_who_follows_a_link_to_it(browser_of, bob, room, alice):
    post(room, alice, "for members")
    answer = browser_of(bob).get(f"/rooms/{room.pk}/")
    assert answer.status_code == 404
    assert "Join Tea" in answer.content.decode()
    assert "for members" not in answer.content.decode()
    joined = browser_of(bob).post(f"/rooms/{room.pk}/join", follow=True)
    assert "for members" in joined.content.decode()


def test_refusals_are_json_for_programs(browser_of, bob, room):
    answer = browser_of(bob).get(f"/rooms/{room.pk}/messages", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (404, "no_room")


def test_a_message_sent_twice_without_javascript_is_stored_once(browser_of, alice, room):
    client = browser_of(alice)
    for _ in range(2):
        answer = client.post(f"/rooms/{room.pk}/messages", {"id": "one-form", "text": "by\r\nform"})
        assert answer.url == f"/rooms/{room.pk}/"
    assert [message.text for message in Message.objects.all()] == ["by\nform"]


def test_a_message_that_is_refused_comes_back_with_its_text(browser_of, alice, room, settings):
    settings.MESSAGE_MAX_LENGTH = 5
    answer = browser_of(alice).post(f"/rooms/{room.pk}/messages", {"id": "x", "text": "much too long"})
    assert answer.status_code == 400
    assert "A message may have 5 characters" in answer.content.decode()
    assert ">much too long</textarea>" in answer.content.decode()
    assert not Message.objects.exists()


def test_nobody_writes_to_a_room_that_is_not_theirs(browser_of, bob, room):
    answer = browser_of(bob).post(f"/rooms/{room.pk}/messages", {"id": "x", "text": "hello?"})
    assert answer.status_code == 404
    assert not Message.objects.exists()


def test_names_topics_and_messages_are_escaped(browser_of, alice):
    room = services.create_room(alice, "<i>Tea</i>", topic="a < b & c")
    post(room, alice, "<script>alert(1)</script>")
    page = browser_of(alice).get(f"/rooms/{room.pk}/").content.decode()
    assert "<i>Tea" not in page
    assert "a &lt; b &amp; c" in page
    assert "<script>alert" not in page


def test_a_new_room_is_made_and_opened(browser_of, alice):
    answer = browser_of(alice).post("/rooms/new/", {"name": "  Long   walks ", "topic": "", "kind": "private"})
    made = Room.objects.get(name="Long walks")
    assert answer.url == f"/rooms/{made.pk}/"
    assert made.kind == Room.Kind.PRIVATE


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"name": "tea", "kind": "open"}, "already an open room of that name"),
        ({"name": "   ", "kind": "open"}, "This field is required"),
        ({"name": "Chess", "kind": "direct"}, "Select a valid choice"),
    ],
)
def test_a_room_that_cannot_be_made_says_why(browser_of, alice, room, data, words):
    answer = browser_of(alice).post("/rooms/new/", data)
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert Room.objects.count() == 1


def test_only_an_owner_changes_and_archives_a_room(browser_of, alice, bob, room):
    services.join_room(bob, room)
    assert "Save" not in browser_of(bob).get(f"/rooms/{room.pk}/settings/").content.decode()
    assert browser_of(bob).post(f"/rooms/{room.pk}/archive").status_code == 403
    refused = browser_of(bob).post(f"/rooms/{room.pk}/settings/", {"name": "Mine", "topic": ""})
    assert "Only an owner" in refused.content.decode()
    room.refresh_from_db()
    assert (room.name, room.is_archived) == ("Tea", False)

    browser_of(alice).post(f"/rooms/{room.pk}/settings/", {"name": "Green tea", "topic": "hot"})
    browser_of(alice).post(f"/rooms/{room.pk}/archive")
    room.refresh_from_db()
    assert (room.name, room.topic, room.is_archived) == ("Green tea", "hot", True)


def test_an_archived_room_can_be_read_and_says_that_it_is_closed(browser_of, alice, room):
    post(room, alice, "the last word")
    services.archive_room(alice, room)
    page = browser_of(alice).get(f"/rooms/{room.pk}/").content.decode()
    assert "the last word" in page
    assert "This room was archived on" in page
    assert "<textarea" not in page
    assert browser_of(alice).post(f"/rooms/{room.pk}/messages", {"id": "x", "text": "one more"}).status_code == 400


def test_members_add_people_to_a_private_room(browser_of, alice, bob):
    secret = services.create_room(alice, "Secret", kind=Room.Kind.PRIVATE)
    browser_of(alice).post(f"/rooms/{secret.pk}/members", {"user": bob.pk})
    assert browser_of(bob).get(f"/rooms/{secret.pk}/").status_code == 200


def test_strangers_add_nobody(browser_of, alice, bob, charlie):
    secret = services.create_room(alice, "Secret", kind=Room.Kind.PRIVATE)
    assert browser_of(bob).post(f"/rooms/{secret.pk}/members", {"user": charlie.pk}).status_code == 404
    assert Membership.objects.filter(room=secret).count() == 1


def test_an_owner_removes_a_member(browser_of, alice, bob, charlie, room):
    for person in (bob, charlie):
        services.join_room(person, room)
    path = f"/rooms/{room.pk}/members/{bob.pk}/remove"
    assert browser_of(bob).get(f"/rooms/{room.pk}/").status_code == 200
    assert path not in browser_of(charlie).get(f"/rooms/{room.pk}/settings/").content.decode()
    assert browser_of(charlie).post(path).status_code == 403
    assert path in browser_of(alice).get(f"/rooms/{room.pk}/settings/").content.decode()
    answer = browser_of(alice).post(path, follow=True)
    assert "Bob is no longer in the room." in answer.content.decode()
    assert browser_of(bob).get(f"/rooms/{room.pk}/").status_code == 404
    assert browser_of(alice).post(path).status_code == 404


def test_an_owner_makes_another_owner(browser_of, alice, bob, charlie, room):
    for person in (bob, charlie):
        services.join_room(person, room)
    path = f"/rooms/{room.pk}/members/{bob.pk}/owner"
    assert browser_of(charlie).post(path).status_code == 403
    assert path in browser_of(alice).get(f"/rooms/{room.pk}/settings/").content.decode()
    answer = browser_of(alice).post(path, follow=True)
    assert "Bob is an owner of the room now." in answer.content.decode()
    assert path not in answer.content.decode()
    assert Membership.objects.get(room=room, user=bob).role == Membership.Role.OWNER


def test_who_is_not_in_a_room_changes_nobody_there(browser_of, alice, bob, room):
    for action in ("remove", "owner"):
        assert browser_of(bob).post(f"/rooms/{room.pk}/members/{alice.pk}/{action}").status_code == 404
    assert Membership.objects.get(room=room, user=alice).role == Membership.Role.OWNER


def test_an_edited_message_says_so(browser_of, alice, room):
    post(room, alice, "first", "second")
    services.edit_message(alice, Message.objects.get(number=1), "better")
    page = browser_of(alice).get(f"/rooms/{room.pk}/").content.decode()
    assert re.search(r'<p>better</p>\s*<span class="edited">\(edited\)</span>', page)
    assert page.count("(edited)") == 1


def test_the_page_of_a_room_says_what_one_is_there(browser_of, alice, bob, room):
    services.join_room(bob, room)
    assert 'data-role="owner"' in browser_of(alice).get(f"/rooms/{room.pk}/").content.decode()
    assert 'data-role="member"' in browser_of(bob).get(f"/rooms/{room.pk}/").content.decode()


def test_leaving_a_room_ends_what_one_may_read(browser_of, bob, room):
    services.join_room(bob, room)
    assert browser_of(bob).post(f"/rooms/{room.pk}/leave").url == "/rooms/"
    assert browser_of(bob).get(f"/rooms/{room.pk}/messages").status_code == 404


def test_the_only_owner_is_told_why_they_cannot_leave(browser_of, alice, bob, room):
    services.join_room(bob, room)
    answer = browser_of(alice).post(f"/rooms/{room.pk}/leave")
    assert answer.status_code == 409
    assert "You are the only owner" in answer.content.decode()


def test_a_direct_room_is_named_after_the_other(browser_of, alice, bob, charlie):
    path = browser_of(alice).post(f"/people/{bob.pk}/direct").url
    assert browser_of(bob).post(f"/people/{alice.pk}/direct").url == path
    assert "<title>Bob" in browser_of(alice).get(path).content.decode()
    assert "<title>Alice" in browser_of(bob).get(path).content.decode()
    assert browser_of(charlie).get(path).status_code == 404


def test_the_sidebar_lists_only_ones_own_rooms_and_marks_the_open_one(browser_of, alice, bob, room):
    other = services.create_room(bob, "Bobs own")
    page = browser_of(alice).get(f"/rooms/{room.pk}/").content.decode()
    assert f'data-room="{room.pk}" data-visit aria-current="page"' in page
    assert "Bobs own" not in page
    fragment = browser_of(bob).get("/sidebar").content.decode()
    assert f'href="/rooms/{other.pk}/"' in fragment
    assert "<html" not in fragment


def test_only_administrators_see_the_way_to_the_admin(browser_of, alice, make_user):
    boss = make_user("boss", is_staff=True)
    assert "Administration" in browser_of(boss).get("/rooms/").content.decode()
    assert "Administration" not in browser_of(alice).get("/rooms/").content.decode()


@pytest.mark.parametrize("path", ["join", "leave", "archive", "members", "members/1/remove", "members/1/owner"])
def test_nothing_is_changed_by_following_a_link(browser_of, alice, room, path):
    assert browser_of(alice).get(f"/rooms/{room.pk}/{path}").status_code == 405


def test_a_room_page_costs_the_same_number_of_queries_however_many_people_wrote(
    browser_of, alice, bob, charlie, room, django_assert_max_num_queries
):
    for person in (bob, charlie):
        services.join_room(person, room)
    post(room, alice, "a", "b")
    client = browser_of(alice)
    client.get(f"/rooms/{room.pk}/")
    for person in (bob, charlie):
        post(room, person, *"cdefgh")
    with django_assert_max_num_queries(12):  # a transaction, as this test's, passes the cache by
        client.get(f"/rooms/{room.pk}/")


def test_times_are_in_the_readers_zone(browser_of, make_user, room):
    reader = make_user("reader", time_zone="Asia/Tokyo")
    services.join_room(reader, room)
    midnight = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
    services.post_messages([NewMessage(room.pk, reader.pk, "t", "late", created_at=midnight)])
    page = browser_of(reader).get(f"/rooms/{room.pk}/").content.decode()
    assert ">08:30</time>" in page
    assert "Monday, 23 November 2026" in page


def said(author: int, minutes: float, kind: str = "text") -> dict:
    when = datetime(2026, 11, 23, 12, 0, tzinfo=UTC) + timedelta(minutes=minutes)
    return {"author": {"id": author}, "kind": kind, "time": when.isoformat()}


def test_messages_are_grouped_by_person_within_five_minutes():
    run = [said(1, 0), said(1, 5), said(1, 10.1), said(2, 10.2), said(2, 10.3, "action"), said(2, 10.4)]
    assert [line.is_head for line in lines(run, UTC)] == [True, False, True, True, True, True]


def test_a_day_begins_by_the_readers_calendar():
    run = [said(1, 0), said(1, 11 * 60), said(1, 13 * 60)]
    assert [line.day is not None for line in lines(run, UTC)] == [True, False, True]
    assert [line.day is not None for line in lines(run, ZoneInfo("Pacific/Auckland"))] == [True, False, False]
