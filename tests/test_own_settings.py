"""A person's own settings are written through: row and cache change together, and only with the commit."""

import threading
from datetime import UTC, datetime

import pytest
from django.db import transaction

from accounts import services
from accounts.models import User
from accounts.own_settings import OwnSettings, settings_of
from accounts.profiles import get_profile
from realtime import services as chat
from realtime.services import NewMessage

pytestmark = pytest.mark.django_db(transaction=True)

CHANGE = {"display_name": "Alicia", "bio": "Tea", "time_zone": "Asia/Tokyo"}
BEFORE = OwnSettings("Alice", "", "UTC", "")
AFTER = OwnSettings("Alicia", "Tea", "Asia/Tokyo", "")


@pytest.fixture
def browser(browser_of, alice):
    return browser_of(alice)


@pytest.mark.topology
@pytest.mark.database
def test_a_change_is_in_the_row_and_in_the_cache(alice, django_assert_num_queries):
    assert settings_of(alice.pk) == BEFORE
    services.update_profile(alice, **CHANGE)
    with django_assert_num_queries(0):
        assert settings_of(alice.pk) == AFTER
    assert User.objects.values_list("display_name", "bio", "time_zone").get(pk=alice.pk) == tuple(CHANGE.values())


def test_the_profile_that_others_see_follows(alice):
    assert get_profile(alice.pk).name == "Alice"
    services.update_profile(alice, **CHANGE)
    assert get_profile(alice.pk).name == "Alicia"


@pytest.mark.database
def test_nobody_sees_a_change_before_its_commit(alice):
    settings_of(alice.pk)
    seen = []
    with transaction.atomic():
        services.update_profile(alice, **CHANGE)
        reader = threading.Thread(target=lambda: seen.append(settings_of(alice.pk)))
        reader.start()
        reader.join(10)
    assert seen == [BEFORE]
    assert settings_of(alice.pk) == AFTER


@pytest.mark.topology
def test_a_rolled_back_change_is_in_neither(alice):
    settings_of(alice.pk)
    with transaction.atomic():
        services.update_profile(alice, **CHANGE)
        transaction.set_rollback(True)
    assert settings_of(alice.pk) == BEFORE
    assert User.objects.get(pk=alice.pk).display_name == "Alice"


def test_what_the_admin_saves_is_seen_at_once(alice):
    settings_of(alice.pk)
    alice.display_name = "Alicia"
    alice.save()
    assert settings_of(alice.pk).display_name == "Alicia"


def test_nobody_has_no_settings(alice):
    number = alice.pk
    assert settings_of(number)
    alice.delete()
    assert settings_of(number) is None


def test_the_profile_page_offers_what_was_saved(browser, alice):
    browser.get("/profile/")
    browser.post("/profile/", CHANGE)
    page = browser.get("/profile/").content.decode()
    assert 'value="Alicia"' in page
    assert '<option value="Asia/Tokyo" selected>' in page


def test_a_change_during_an_outage_is_saved_and_seen_afterwards(alice, redis_server):
    settings_of(alice.pk)
    redis_server.kill()
    services.update_profile(alice, **CHANGE)
    assert settings_of(alice.pk) == AFTER
    redis_server.start()
    assert settings_of(alice.pk) == AFTER


def test_pages_tell_times_in_the_zone_of_who_reads_them(browser, alice):
    room = chat.create_room(alice, "Tea")
    at = datetime(2026, 1, 2, 20, 30, tzinfo=UTC)
    chat.post_message(NewMessage(room.pk, alice.pk, "late", "hello", created_at=at))
    assert "Friday, 2 January 2026, 20:30" in browser.get(f"/rooms/{room.pk}/").content.decode()
    services.update_profile(alice, **CHANGE)
    assert "Saturday, 3 January 2026, 05:30" in browser.get(f"/rooms/{room.pk}/").content.decode()


def test_a_zone_that_this_system_does_not_know_keeps_nobody_out(browser, alice):
    User.objects.filter(pk=alice.pk).update(time_zone="Mars/Olympus")
    assert browser.get("/profile/").status_code == 200
