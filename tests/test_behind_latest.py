"""Write-behind of latest values: readers see their writes, rows never go back, nothing is lost."""

import logging
import time
from contextlib import suppress

import pytest
from django.db import DatabaseError, OperationalError, transaction

from intellicolab.cache.behind import Row, registry, update_greatest, update_latest
from intellicolab.redis.client import Role, aclose, client
from intellicolab.redis.fence import StaleFence

from . import behind
from .behind import KEYS, Thing, flush, nothing, refuse, table, things, values

__all__ = ["table", "things"]  # fixtures
pytestmark = [pytest.mark.database, pytest.mark.topology, pytest.mark.usefixtures("things")]


@pytest.fixture
def buffer(things):
    return behind.latest()


def stored():
    return values("value")


# --- Reading and writing -------------------------------------------------------------------------------------------


def test_a_reader_sees_a_write_at_once_and_the_database_after_the_flush(buffer):
    buffer.set(1, 7)
    buffer.set(1, 8)
    assert buffer.get_many([1, 2]) == {1: 8}
    assert stored()[1] == 0
    flush(buffer)
    assert buffer.get_many([1, 2]) == {}
    assert stored() == {1: 8, 2: 0, 3: 0, 4: 0}


async def test_the_async_forms_do_the_same(buffer):
    await buffer.aset(1, 7)
    assert await buffer.aget_many([1]) == {1: 7}
    assert buffer.get_many([1]) == {1: 7}
    await aclose()


def test_a_batch_costs_few_queries(buffer, django_assert_max_num_queries):
    for key in KEYS:
        buffer.set(key, key)
    with django_assert_max_num_queries(3):  # begin, one UPDATE, commit
        buffer.flush(nothing)
    assert stored() == {key: key for key in KEYS}


def test_the_oldest_go_first_and_a_batch_is_bounded():
    buffer = behind.latest(batch=3)
    for key in (4, 2, 3, 1):
        buffer.set(key, 9)
    assert buffer.flush(nothing)  # there is more
    assert stored() == {1: 0, 2: 9, 3: 9, 4: 9}
    assert not buffer.flush(nothing)
    assert stored()[1] == 9


def test_a_write_during_a_flush_stays_in_the_buffer():
    def write(entries):
        behind.write_latest(entries)
        if not meanwhile:
            meanwhile.append(buffer.set(1, 8))

    meanwhile = []
    buffer = behind.latest(write=write)
    buffer.set(1, 7)
    buffer.flush(nothing)
    assert stored()[1] == 7
    assert buffer.get_many([1]) == {1: 8}
    flush(buffer)
    assert stored()[1] == 8
    assert buffer.state().entries == 0


def test_the_greater_number_stays_where_that_is_the_rule():
    buffer = behind.latest(merge="max", write=behind.write_greatest)
    buffer.set(1, 7)
    buffer.set(1, 3)
    assert buffer.get_many([1]) == {1: 7}
    flush(buffer)
    buffer.set(1, 5)
    flush(buffer)
    assert stored()[1] == 7


def test_what_was_cached_goes_after_the_commit_and_before_the_removal():
    seen = []

    def flushed(keys):
        seen.append((list(keys), stored()[1], dict(buffer.get_many([1]))))

    buffer = behind.latest(flushed=flushed)
    buffer.set(1, 7)
    flush(buffer)
    assert seen == [([1], 7, {1: 7})]


def test_an_invalidation_that_fails_is_tried_again_and_no_entry_is_blamed():
    calls = []

    def flushed(keys):
        calls.append(keys)
        if len(calls) == 1:
            raise LookupError

    buffer = behind.latest(flushed=flushed)
    buffer.set(1, 7)
    with pytest.raises(RuntimeError, match="LookupError"):
        buffer.flush(nothing)
    assert stored()[1] == 7
    assert buffer.state().failures == 0
    flush(buffer)
    assert len(calls) == 2
    assert buffer.state().entries == 0


def test_two_buffers_may_not_share_a_name(buffer):
    with pytest.raises(ValueError, match="two write-behind buffers named 'things'"):
        behind.latest()
    assert registry["things"] is buffer


# --- The stamp -----------------------------------------------------------------------------------------------------


def test_a_flusher_that_was_paused_changes_nothing(buffer):
    buffer.set(1, 7)
    late = buffer._take(False)
    buffer.set(1, 8)
    flush(buffer)
    buffer._settle(late, nothing)
    assert stored()[1] == 8
    assert buffer.state().entries == 0


def test_a_guard_that_refuses_keeps_the_entries(buffer):
    buffer.set(1, 7)
    with pytest.raises(StaleFence):
        buffer.flush(refuse)
    assert stored()[1] == 0
    assert buffer.get_many([1]) == {1: 7}


def test_stamps_rise_although_the_clock_was_set_back(buffer):
    ahead = int((time.time() + 3600) * 1e6)
    client(Role.STATE).set(buffer.part("clock"), ahead)
    for value in (7, 8):
        buffer.set(1, value)
        flush(buffer)
        assert stored()[1] == value
    assert Thing.objects.get(pk=1).stamp == ahead + 2


def test_rows_are_found_by_any_lookup_and_gone_ones_passed_over():
    changes = [
        Row({"pk": 1, "total": 0}, {"value": 7}, 5),
        Row({"pk": 2, "total": 1}, {"value": 7}, 5),
        Row({"pk": 99, "total": 0}, {"value": 7}, 5),
    ]
    assert update_latest(Thing.objects.all(), changes) == 1
    assert update_latest(Thing.objects.all(), changes) == 0  # the stamp is no higher
    assert update_latest(Thing.objects.all(), []) == 0
    assert stored() == {1: 7, 2: 0, 3: 0, 4: 0}


def test_a_number_that_only_rises_needs_no_stamp():
    def write(value):
        return update_greatest(Thing.objects.all(), [Row({"pk": 1}, {"value": value}, 0)])

    assert [write(value) for value in (5, 3, 5, 7)] == [1, 0, 0, 1]
    assert stored()[1] == 7


def test_many_rows_are_written_in_chunks(django_assert_max_num_queries):
    Thing.objects.bulk_create([Thing(pk=key) for key in range(10, 260)])
    changes = [Row({"pk": key}, {"value": key}, 5) for key in range(10, 260)]
    with django_assert_max_num_queries(3):
        assert update_latest(Thing.objects.all(), changes) == 250
    assert stored()[259] == 259


# --- Without Redis -------------------------------------------------------------------------------------------------


def test_without_redis_a_write_goes_to_the_database_and_order_is_kept(buffer, redis_server):
    buffer.set(1, 7)
    redis_server.kill()
    buffer.set(1, 8)
    assert stored()[1] == 8
    assert buffer.get_many([1]) == {}
    redis_server.start()
    buffer.breaker.succeeded()
    assert client(Role.STATE).hexists(buffer.part("values"), "1")  # the append-only file kept the older one
    assert buffer.get_many([1]) == {}  # which this process knows to be older
    flush(buffer)
    assert stored()[1] == 8
    buffer.set(1, 9)
    assert buffer.get_many([1]) == {1: 9}
    flush(buffer)
    assert stored()[1] == 9


async def test_without_redis_the_async_form_writes_in_a_thread(buffer, redis_server):
    redis_server.kill()
    await buffer.aset(1, 8)
    assert await buffer.aget_many([1]) == {}
    await aclose()


@pytest.mark.parametrize("fails", [True, False])
def test_a_write_to_the_database_that_comes_to_nothing_hides_nothing_that_waits(fails):
    """What was written before it, and acknowledged, is still what a reader sees."""

    def write(entries):
        if fails:
            raise OperationalError
        behind.write_latest(entries)

    buffer = behind.latest(write=write)
    buffer.set(1, 7)
    buffer.breaker.failed(ConnectionError())
    with suppress(OperationalError), transaction.atomic():
        buffer.set(1, 8)
        transaction.set_rollback(True)
    assert stored()[1] == 0
    buffer.breaker.succeeded()
    assert buffer.get_many([1]) == {1: 7}


def test_a_write_that_lay_in_the_socket_of_a_hanging_server_comes_too_late(buffer, redis_server):
    """It would otherwise get a later stamp than what was written to the database meanwhile."""
    buffer.set(2, 1)
    redis_server.pause()
    try:
        buffer.set(1, 7)  # waits for its timeout, then writes directly
        buffer.set(1, 8)
    finally:
        redis_server.resume()
    assert stored()[1] == 8
    client(Role.STATE).ping()
    buffer.breaker.succeeded()
    assert buffer.get_many([1]) == {}
    assert not client(Role.STATE).hexists(buffer.part("values"), "1")
    flush(buffer)
    assert stored()[1] == 8


def test_a_clock_that_differs_is_learnt_and_costs_one_more_call(buffer):
    buffer.clock._offset -= 3600 * 1_000_000
    buffer.set(1, 7)
    assert buffer.get_many([1]) == {1: 7}
    assert abs(buffer.clock.now() - time.time_ns() // 1000) < 60_000_000


def test_without_both_the_writer_hears_of_it(redis_server):
    def away(entries):
        raise OperationalError

    buffer = behind.latest(write=away)
    redis_server.kill()
    with pytest.raises(DatabaseError):
        buffer.set(1, 7)


# --- Back-pressure, and what the database refuses ------------------------------------------------------------------


def test_above_the_limit_new_keys_go_to_the_database_and_the_log_says_so_once(caplog):
    buffer = behind.latest(limit=2)
    with caplog.at_level(logging.ERROR):
        for key in (1, 2, 3, 4, 1):
            buffer.set(key, 7)
        assert stored() == {1: 0, 2: 0, 3: 7, 4: 7}
        flush(buffer)
        buffer.set(1, 8)
        buffer.set(2, 8)
    said = [record.getMessage() for record in caplog.records if "Write-behind" in record.getMessage()]
    assert len(said) == 2
    assert "holds its limit of 2 entries" in said[0]
    assert "has room again" in said[1]
    flush(buffer)
    assert stored() == {1: 8, 2: 8, 3: 7, 4: 7}


def test_an_entry_that_the_database_refuses_keeps_no_other_and_dies_in_the_end(buffer, caplog):
    for key, value in ((1, 7), (2, -1), (3, 7), (4, 7)):
        buffer.set(key, value)
    with caplog.at_level(logging.ERROR):
        buffer.flush(nothing)
        assert stored() == {1: 7, 2: 0, 3: 7, 4: 7}
        assert buffer.get_many([2]) == {2: -1}
        buffer.flush(nothing)  # not yet: it has to pause
        assert buffer.state().failures == 1
        for _ in range(4):
            buffer.flush(nothing, force=True)
    state = buffer.state()
    assert (state.entries, state.failures, state.dead, state.flushed) == (0, 5, 1, 3)
    [dead] = buffer.dead()
    assert (dead.key, dead.value) == ("2", "-1")
    assert "IntegrityError" in dead.reason
    assert "given up" in caplog.text
    buffer.set(2, 5)
    flush(buffer)
    assert stored()[2] == 5
    assert buffer.take_dead() == [dead]
    assert buffer.state().dead == 0


def test_a_refused_value_that_is_corrected_meanwhile_is_written(buffer):
    buffer.set(2, -1)
    buffer.flush(nothing)
    buffer.set(2, 5)
    buffer.flush(nothing, force=True)
    assert stored()[2] == 5
    assert buffer.state().entries == 0
    assert not client(Role.STATE).exists(buffer.part("tries"))


def test_a_value_that_nobody_can_read_hides_nothing_and_dies(buffer):
    state = client(Role.STATE)
    buffer.set(1, 7)
    buffer.set(2, 7)
    state.hset(buffer.part("values"), "1", b'5:"text"')
    assert buffer.get_many([1, 2]) == {2: 7}
    for _ in range(5):
        buffer.flush(nothing, force=True)
    assert stored() == {1: 0, 2: 7, 3: 0, 4: 0}
    assert buffer.state().dead == 1


def test_a_database_that_is_away_blames_no_entry():
    away = [True]

    def write(entries):
        if away:
            raise OperationalError
        behind.write_latest(entries)

    buffer = behind.latest(write=write)
    buffer.set(1, 7)
    for _ in range(9):
        with suppress(OperationalError):
            buffer.flush(nothing)
    assert buffer.state().failures == 0
    away.clear()
    flush(buffer)
    assert stored()[1] == 7


def test_the_dashboard_can_read_how_it_is_doing(buffer):
    assert buffer.state().oldest is None
    buffer.set(1, 7)
    state = buffer.state()
    assert (state.namespace, state.kind, state.entries, state.limit) == ("things", "latest", 1, 100_000)
    assert 0 <= state.oldest < 30
    assert state.last_flush is None
    flush(buffer)
    assert 0 <= buffer.state().last_flush < 30
