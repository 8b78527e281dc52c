"""When people were last here: noted once a minute a process, written behind, told to the minute."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, InterfaceError
from websockets.sync.client import connect

from accounts import last_seen
from accounts.models import User
from intellicolab.cache.behind import drain

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nobody_noted():
    last_seen._noted.clear()
    yield
    last_seen._noted.clear()


@pytest.fixture
def browser(browser_of, alice):
    return browser_of(alice)


def seen(user):
    return last_seen.of([user.pk]).get(user.pk)


def stored(user):
    return User.objects.get(pk=user.pk).last_seen


def test_who_was_never_here_was_not_seen(alice):
    assert seen(alice) is None


@pytest.mark.topology
@pytest.mark.database
def test_a_note_is_told_to_the_minute_and_flushed_to_the_row(alice):
    before = datetime.now(UTC)
    last_seen.note(alice.pk)
    assert before - timedelta(minutes=1) < seen(alice) <= before
    assert (seen(alice).second, stored(alice)) == (0, None)
    assert drain(10) == []
    assert before - timedelta(seconds=1) <= stored(alice) <= datetime.now(UTC)
    assert seen(alice) == stored(alice).replace(second=0)


@pytest.mark.topology
def test_a_process_notes_a_person_once_a_minute(alice, monkeypatch):
    last_seen.note(alice.pk)
    first, earlier = seen(alice), time.time() - 3600
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: earlier + 7200)
        last_seen.note(alice.pk)
    assert seen(alice) == first
    last_seen._noted[alice.pk] -= last_seen.NOTE_SECONDS
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: earlier + 7200)
        last_seen.note(alice.pk)
    assert seen(alice) > first


@pytest.mark.topology
@pytest.mark.database
def test_an_earlier_note_that_comes_late_changes_nothing(alice, monkeypatch):
    last_seen.note_leaving(alice.pk)
    now = seen(alice)
    monkeypatch.setattr(time, "time", lambda: 1_000_000_000)
    last_seen.note_leaving(alice.pk)
    assert seen(alice) == now
    assert drain(10) == []
    assert stored(alice).replace(second=0) == now


@pytest.mark.database
def test_a_form_that_was_opened_before_takes_back_nothing_that_was_flushed_since(alice):
    opened = User.objects.get(pk=alice.pk)
    last_seen.note(alice.pk)
    assert drain(10) == []
    row = User.objects.get(pk=alice.pk)
    opened.bio = "Tea"
    opened.save()
    assert (stored(alice), User.objects.get(pk=alice.pk).last_seen_stamp) == (row.last_seen, row.last_seen_stamp)
    assert row.last_seen is not None
    assert row.last_seen_stamp > 0
    assert User.objects.get(pk=alice.pk).bio == "Tea"


def test_what_a_save_names_and_what_was_not_loaded_is_as_ever(alice):
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    alice.last_seen, alice.bio = moment, "Tea"
    alice.save(update_fields=["last_seen"])
    assert (stored(alice), User.objects.get(pk=alice.pk).bio) == (moment, "")
    partial = User.objects.only("email", "password", "is_active").get(pk=alice.pk)
    User.objects.filter(pk=alice.pk).update(bio="Coffee")
    partial.save()
    assert User.objects.get(pk=alice.pk).bio == "Coffee"


@pytest.mark.parametrize("fault", [DatabaseError, InterfaceError])
def test_without_redis_and_database_it_costs_the_note_alone(alice, monkeypatch, fault):
    def fail(*args, **kwargs):
        raise fault

    monkeypatch.setattr(last_seen._seen, "set", fail)
    last_seen.note(alice.pk)


@pytest.mark.topology
def test_requests_are_noted(alice, browser):
    browser.get("/rooms/")
    assert seen(alice) is not None


def test_without_redis_the_database_has_it(alice, redis_server):
    redis_server.kill()
    last_seen.note(alice.pk)
    assert stored(alice) is not None
    assert seen(alice) == stored(alice).replace(second=0)


def test_others_are_told_in_words_and_oneself_is_not(alice, bob, browser):
    moment = datetime.now(UTC) - timedelta(minutes=5)
    User.objects.filter(pk=bob.pk).update(last_seen=moment)
    for path in (f"/people/{bob.pk}/", "/people/"):
        page = browser.get(path).content.decode()
        assert "Last seen <time data-relative" in page
        assert f'datetime="{moment:%Y-%m-%dT%H:%M}:00+00:00"' in page
    assert "Last seen" not in browser.get(f"/people/{alice.pk}/").content.decode()


def test_the_sockets_opening_and_closing_are_noted(site):
    (person,) = site.people("sofia")
    look = f"from accounts import last_seen; print('SEEN', last_seen.of([{person['id']}]))"
    assert "SEEN {}" in site.manage("shell", "-v", "0", "-c", look).stdout
    headers = {"Cookie": person["cookie"]}
    with connect(site.socket_url, origin=site.url, additional_headers=headers) as socket:
        socket.recv()
    assert "datetime" in site.manage("shell", "-v", "0", "-c", look).stdout
