"""Openings of rooms are counted behind: each once, whatever is away, and the total is always exact."""

import threading

import pytest
from django.db import connection, transaction
from django.test import Client

from intellicolab.cache.behind import drain, registry
from realtime import directory, services, visits
from realtime.models import Room
from realtime.templatetags.chat import compact

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def room(alice):
    return services.create_room(alice, "Tea")


@pytest.fixture
def browser(browser_of, alice):
    return browser_of(alice)


def total(room):
    return visits.totals([room.pk])[room.pk]


def stored(room):
    return Room.objects.get(pk=room.pk).visits


@pytest.mark.topology
def test_each_opening_of_a_members_page_counts(room, browser):
    for _ in range(3):
        assert browser.get(f"/rooms/{room.pk}/").status_code == 200
    assert (total(room), stored(room)) == (3, 0)


def test_what_is_refused_is_no_opening(room, browser, make_user):
    stranger = Client()
    stranger.force_login(make_user("bob"))
    assert stranger.get(f"/rooms/{room.pk}/").status_code == 404
    assert browser.get(f"/rooms/{room.pk}/messages").status_code == 200
    assert total(room) == 0


@pytest.mark.topology
@pytest.mark.database
def test_the_flusher_adds_them_to_the_row_once(room):
    for _ in range(5):
        visits.count(room.pk)
    assert drain(10) == []
    assert (total(room), stored(room)) == (5, 5)
    visits.count(room.pk)
    assert drain(10) == []
    assert drain(10) == []
    assert (total(room), stored(room)) == (6, 6)


@pytest.mark.topology
@pytest.mark.database
def test_the_total_is_exact_while_others_count_and_flush(room):
    def count():
        for _ in range(50):
            visits.count(room.pk)
        connection.close()

    counting = [threading.Thread(target=count) for _ in range(3)]
    for thread in counting:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in counting):
        drain(10)
        seen.append(total(room))
    assert seen == sorted(seen)  # never less than before
    assert total(room) == 150
    assert drain(10) == []
    assert stored(room) == 150


@pytest.mark.topology
def test_an_opening_is_counted_whatever_becomes_of_the_transaction(room):
    with transaction.atomic():
        visits.count(room.pk)
        transaction.set_rollback(True)
    assert total(room) == 1


def test_without_redis_the_database_counts(room, redis_server):
    visits.count(room.pk)
    redis_server.stop()
    visits.count(room.pk)
    assert stored(room) == 1
    redis_server.start()
    registry["room-visits"].breaker.succeeded()  # it finds that out within a second
    assert total(room) == 2
    assert drain(10) == []
    assert stored(room) == 2


def test_the_pages_tell_how_often(room, browser):
    for _ in range(1204):
        visits.count(room.pk)
    directory.forget_after_commit()
    for path in ("/rooms/", f"/rooms/{room.pk}/settings/"):
        assert '<span class="number" title="1,204">1,204</span> times' in browser.get(path).content.decode()


COUNTS = {0: "0", 1204: "1,204", 9999: "9,999", 12_345: "12K", 999_499: "999K", 999_500: "1.0M", 4_520_000: "4.5M"}


@pytest.mark.parametrize(("count", "words"), COUNTS.items())
def test_large_counts_are_short(count, words):
    assert compact(count) == words
