"""Room settings are written through, the directory is refreshed ahead: pages follow each commit, and only it."""

import threading

import pytest
from django.db import transaction

from intellicolab.redis import keys
from intellicolab.redis.client import Role
from intellicolab.redis.client import client as redis_client
from realtime import directory, queries, services
from realtime.errors import ChatError
from realtime.models import Room
from realtime.room_settings import settings_of_many

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def room(alice):
    return services.create_room(alice, "Tea", topic="Leaves & water")


@pytest.fixture
def browser(browser_of, alice):
    return browser_of(alice)


def settings_of(room_id):
    return settings_of_many([room_id]).get(room_id)


def names():
    return [listed.name for listed in directory.page(1).rooms]


# --- Settings ------------------------------------------------------------------------------------------------------


def test_a_new_rooms_settings_are_there_without_a_query(alice, room, django_assert_num_queries):
    with django_assert_num_queries(0):
        found = settings_of(room.pk)
    assert (found.name, found.topic, found.kind, found.is_archived) == ("Tea", "Leaves & water", "open", False)


@pytest.mark.topology
@pytest.mark.database
def test_row_and_cache_change_together(alice, room, django_assert_num_queries):
    services.update_room(alice, room, "Coffee", "Beans")
    services.archive_room(alice, room)
    row = Room.objects.get(pk=room.pk)
    with django_assert_num_queries(0):
        found = settings_of(room.pk)
    assert (found.name, found.topic, found.archived_at) == ("Coffee", "Beans", row.archived_at)
    assert (row.name, row.topic, row.is_archived) == ("Coffee", "Beans", True)


@pytest.mark.database
def test_nobody_sees_a_change_before_its_commit(alice, room):
    seen = []
    with transaction.atomic():
        services.update_room(alice, room, "Coffee", "")
        reader = threading.Thread(target=lambda: seen.append(settings_of(room.pk).name))
        reader.start()
        reader.join(10)
    assert seen == ["Tea"]
    assert settings_of(room.pk).name == "Coffee"


@pytest.mark.topology
def test_a_rolled_back_change_is_in_neither(alice, room):
    with transaction.atomic():
        services.update_room(alice, room, "Coffee", "")
        transaction.set_rollback(True)
    assert settings_of(room.pk).name == "Tea"
    assert Room.objects.get(pk=room.pk).name == "Tea"


def test_a_name_that_is_refused_changes_nothing(alice, room):
    services.create_room(alice, "Coffee")
    with pytest.raises(ChatError):
        services.update_room(alice, room, "coffee", "")
    assert settings_of(room.pk).name == "Tea"


@pytest.mark.topology
def test_several_rooms_are_read_together_and_those_that_are_gone_left_out(alice, room):
    other = services.create_room(alice, "Coffee")
    assert set(settings_of_many([room.pk, other.pk, 987654])) == {room.pk, other.pk}


def test_a_direct_room_knows_its_two_people(alice, bob):
    room = services.open_direct_room(alice, bob)
    assert settings_of(room.pk).other(alice.pk) == bob.pk
    assert settings_of(room.pk).other(bob.pk) == alice.pk
    assert queries.entry_for(alice, room.pk).title == "Bob"


def test_the_sidebar_costs_two_queries(alice, bob, room, django_assert_num_queries):
    services.open_direct_room(alice, bob)
    assert len(queries.rooms_of(alice)) == 2
    with django_assert_num_queries(2):  # which rooms, and after what waits to be written, how far they and one are
        assert [entry.title for entry in queries.rooms_of(alice)] == ["Bob", "Tea"]


def test_pages_show_a_new_name_at_once(alice, room, browser):
    assert "Tea" in browser.get(f"/rooms/{room.pk}/").content.decode()
    services.update_room(alice, room, "Coffee", "Beans")
    page = browser.get(f"/rooms/{room.pk}/").content.decode()
    assert "Tea" not in page
    assert page.count("Coffee") > 2  # title, heading, sidebar


def test_a_change_during_an_outage_is_made_and_seen_afterwards(alice, room, redis_server):
    redis_server.kill()
    services.update_room(alice, room, "Coffee", "")
    assert settings_of(room.pk).name == "Coffee"
    assert names() == ["Coffee"]
    redis_server.start()
    assert settings_of(room.pk).name == "Coffee"


def test_another_process_sees_the_change(site):
    (person,) = site.people("renata")
    address, cookie = f"/rooms/{person['room']}/", person["cookie"]
    before = site.get(address, Cookie=cookie)[1]
    change = (
        "from accounts.models import User; from realtime import services; from realtime.models import Room;"
        f" services.update_room(User.objects.get(pk={person['id']}), Room.objects.get(pk={person['room']}), %r, '')"
    )
    try:
        result = site.manage("shell", "-v", "0", "-c", change % "Renamed")
        after = site.get(address, Cookie=cookie)[1]
        assert (b"Renamed" in before, b"Renamed" in after) == (False, True), result.stderr
    finally:
        site.manage("shell", "-v", "0", "-c", change % "General")


# --- Directory -----------------------------------------------------------------------------------------------------


def test_the_directory_is_read_without_a_query(room, django_assert_num_queries):
    assert names() == ["Tea"]
    with django_assert_num_queries(0):
        assert names() == ["Tea"]
    ttl = redis_client(Role.CACHE).ttl(keys.cached("directory", 1))
    assert 60 < ttl <= 660  # fresh for a minute, and for ten more in case the database does not answer


@pytest.mark.topology
@pytest.mark.database
def test_rooms_that_come_change_and_go_are_seen_at_once(alice, room):
    assert names() == ["Tea"]
    coffee = services.create_room(alice, "Coffee")
    assert names() == ["Coffee", "Tea"]
    services.update_room(alice, coffee, "Water", "")
    assert names() == ["Tea", "Water"]
    services.archive_room(alice, room)
    assert names() == ["Water"]


def test_a_room_that_is_rolled_back_was_never_listed(alice, room):
    names()
    with transaction.atomic():
        services.create_room(alice, "Coffee")
        transaction.set_rollback(True)
    assert names() == ["Tea"]


def test_ones_own_coming_and_going_shows_at_once(bob, room, browser_of):
    client = browser_of(bob)
    assert "Join Tea" in client.get("/rooms/").content.decode()
    services.join_room(bob, room)
    assert "Open Tea" in client.get("/rooms/").content.decode()
    services.leave_room(bob, room)
    assert "Join Tea" in client.get("/rooms/").content.decode()


def test_the_nearest_page_stands_in_for_one_that_is_not_there(alice, room, monkeypatch):
    monkeypatch.setattr(directory, "PAGE", 2)
    for name in ("Coffee", "Water"):
        services.create_room(alice, name)
    assert [(directory.page(n).number, len(directory.page(n).rooms)) for n in (0, 1, 2, 3, 10**18)] == [
        (1, 2), (1, 2), (2, 1), (2, 1), (2, 1),
    ]  # fmt: skip
    assert not redis_client(Role.CACHE).exists(keys.cached("directory", 10**18))


def test_an_empty_installation_has_an_empty_directory():
    assert directory.page(1) == directory.Page((), 1, 1)


def test_the_page_leads_from_one_to_the_next(alice, room, browser, monkeypatch):
    monkeypatch.setattr(directory, "PAGE", 1)
    services.create_room(alice, "Coffee")
    first, second = (browser.get(f"/rooms/?page={number}").content.decode() for number in (1, 2))
    assert 'href="?page=2"' in first
    assert "Page 2 of 2" in second
