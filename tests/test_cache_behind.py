"""Write-behind through the one interface of cached things: own writes are read at once, the database follows."""

import pytest
from django.db import transaction

from accounts.models import User
from intellicolab.cache.behind import Row, add_sums, drain, registry, update_latest
from intellicolab.cache.behind.strategy import WriteBehindLatest, WriteBehindSum
from intellicolab.cache.declaration import Cached
from intellicolab.cache.template import TemplateError, parser
from intellicolab.redis.counters import counters, totals
from realtime.models import Room

from .test_cache import Async, Sync, in_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.topology, pytest.mark.database]


@pytest.fixture(params=[Sync, Async])
def form(request, async_redis):
    return request.param


@pytest.fixture
def declare():
    declared, buffers = len(Cached.declared), set(registry)

    def make(*arguments, **options):
        return Cached(*arguments, ttl=60, **options)

    yield make
    del Cached.declared[declared:]
    for name in set(registry) - buffers:
        del registry[name]


@pytest.fixture
def bios(declare):
    """What a person says of themselves, by person and an argument of text that must survive as a part of the key."""

    def load(user_id: int, kind: str) -> str | None:
        return User.objects.values_list("bio", flat=True).get(pk=user_id)

    def write(entries):
        assert all(entry.key[1] == "a:b{}%" for entry in entries)
        rows = [Row({"pk": entry.key[0]}, {"bio": entry.value}, entry.stamp) for entry in entries]
        update_latest(User.objects.all(), rows, stamp="last_seen_stamp")

    return declare("bio", "{user_id}:{kind}", load, type=str, strategy=WriteBehindLatest(write=write))


@pytest.fixture
def visits(declare):
    def load(room_id: int) -> int | None:
        return Room.objects.values_list("visits", flat=True).get(pk=room_id)

    return declare(
        "opened", "{room_id}", load, type=int,
        strategy=WriteBehindSum(write=lambda amounts: add_sums(Room.objects.all(), "visits", amounts)),
    )  # fmt: skip


KIND = "a:b{}%"


def stored(user):
    return User.objects.values_list("bio", flat=True).get(pk=user.pk)


async def test_a_write_is_read_at_once_and_reaches_the_database_with_the_flush(form, bios, alice):
    cache = form(bios)
    assert await cache.get(alice.pk, KIND) == ""
    assert await cache.set(alice.pk, KIND, value="first") == "first"
    await cache.set(alice.pk, KIND, value="second")
    assert await cache.get(alice.pk, KIND) == "second"
    assert await in_thread(stored, alice) == ""
    assert await in_thread(drain, 10) == []
    assert await in_thread(stored, alice) == "second"
    assert await cache.get(alice.pk, KIND) == "second"


async def test_what_was_cached_of_the_database_goes_when_the_flush_has_committed(form, bios, alice):
    """Else a reader who comes when the buffer is empty again would be served the value from before the write."""
    cache = form(bios)
    assert await cache.get(alice.pk, KIND) == ""  # cached now
    await cache.set(alice.pk, KIND, value="written")
    await in_thread(drain, 10)
    assert await cache.get_many([(alice.pk, KIND)]) == {(alice.pk, KIND): "written"}


async def test_what_is_read_from_the_buffer_counts_as_a_hit(form, bios, alice):
    counters.flush()
    before = totals("cache").get("bio:hit", 0)
    await form(bios).set(alice.pk, KIND, value="written")
    await form(bios).get(alice.pk, KIND)
    await form(bios).get_many([(alice.pk, KIND)])
    counters.flush()
    assert totals("cache")["bio:hit"] == before + 2


def test_a_transaction_reads_what_waits_and_a_rollback_leaves_it(bios, alice):
    with transaction.atomic():
        bios.set(alice.pk, KIND, value="written")
        assert bios.get(alice.pk, KIND) == "written"
        transaction.set_rollback(True)
    assert bios.get(alice.pk, KIND) == "written"


async def test_a_sum_is_exact_before_and_after_the_flush(form, visits, alice):
    room = await in_thread(Room.objects.create, name="Kitchen")
    cache = form(visits)
    assert await cache.get(room.pk) == 0
    await cache.add(room.pk)
    await cache.add(room.pk, amount=4)
    assert await cache.get(room.pk) == 5
    await in_thread(drain, 10)
    assert await cache.get(room.pk) == 5
    await cache.add(room.pk)
    assert await cache.get_many([room.pk]) == {room.pk: 6}


async def test_what_a_thing_is_not_is_refused(form, bios, visits, alice):
    with pytest.raises(TypeError, match="declare it with WriteBehindSum"):
        await form(bios).add(alice.pk, KIND)
    with pytest.raises(TypeError, match="added to, not set"):
        await form(visits).set(1, value=5)


def test_names_are_taken_apart_again():
    parse = parser("room:{room_id}:{text}", ["room_id", "text"], [int, str])
    assert parse("room:5:a%3Ab") == (5, "a:b")
    assert parser("{text}", ["text"], [str])("%7B") == "{"
    with pytest.raises(TemplateError, match="such as a colon"):
        parser("{a}{b}", ["a", "b"], [str, str])
    with pytest.raises(TemplateError, match="each argument once"):
        parser("{a}:{a}", ["a"], [str])


def test_a_write_behind_that_cannot_work_says_why(declare):
    def load(a: str, b: str) -> str | None:
        return a + b

    assert declare("x1", "{a}:{b}", load, strategy=WriteBehindLatest()).problems == [
        "write-behind: `write` must be the function that writes entries to the database"
    ]
    assert declare("x2", "{a}:{b}", load, strategy=WriteBehindSum()).problems == [
        "write-behind: `write` must be the function that adds amounts to the database"
    ]
    assert declare("x0", "{a}:{b}", load, strategy=WriteBehindLatest(write=print)).problems == []
    assert declare("x0", "{a}:{b}", load, strategy=WriteBehindLatest(write=print)).problems == [
        "there are two write-behind buffers named 'x0'"
    ]
    (problem,) = declare("x3", "{a}{b}", load, strategy=WriteBehindLatest(write=print)).problems
    assert "such as a colon" in problem
    (problem,) = declare(
        "x4", "{a}:{b}", load, type=str, strategy=WriteBehindLatest(write=print), local=(1, 1)
    ).problems
    assert "cannot have a local tier" in problem
    lowest = WriteBehindLatest(write=print, merge="min", limit=0)
    assert declare("x5", "{a}:{b}", load, strategy=lowest).problems == [
        "write-behind: `merge` must be 'last' or 'max'",
        "write-behind: `limit` must be a number of entries above 0",
    ]
    (problem,) = declare("x6", "{a}:{b}", load, strategy=WriteBehindSum(write=print, limit=-1)).problems
    assert "`limit` must be a number of entries above 0" in problem
