"""Write-behind of sums: each addition counts once, and readers see the exact total at any moment."""

import logging
import threading

import pytest
from django.db import DatabaseError, OperationalError
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from intellicolab import threads
from intellicolab.cache.behind import add_sums
from intellicolab.cache.behind.flusher import Flusher
from intellicolab.cache.behind.sums import _add, _Adding, was_refused
from intellicolab.cache.behind.unanswered import Unanswered
from intellicolab.cache.models import FlushedBatch
from intellicolab.redis.client import Role, aclose, client
from intellicolab.redis.fence import StaleFence

from . import behind
from .behind import KEYS, Thing, closing, flush, nothing, refuse, table, things, values, wait_until

__all__ = ["table", "things"]  # fixtures
pytestmark = [pytest.mark.database, pytest.mark.topology, pytest.mark.usefixtures("things")]


@pytest.fixture
def buffer(things):
    return behind.sums()


def stored():
    return values("total")


def batches():
    return FlushedBatch.objects.count()


# --- Reading and writing -------------------------------------------------------------------------------------------


def test_a_reader_sees_the_total_before_and_after_the_flush(buffer):
    Thing.objects.filter(pk=1).update(total=100)
    buffer.add(1)
    buffer.add(1, 4)
    buffer.add_many({2: 3, 3: 1})
    assert buffer.get_many(KEYS) == {1: 105, 2: 3, 3: 1, 4: 0}
    assert stored() == {1: 100, 2: 0, 3: 0, 4: 0}
    flush(buffer)
    assert stored() == buffer.get_many(KEYS) == {1: 105, 2: 3, 3: 1, 4: 0}
    assert batches() == 1
    assert buffer.state().entries == 0


async def test_the_async_forms_do_the_same(buffer):
    await buffer.aadd(1, 5)
    await buffer.aadd_many({1: 2, 2: 1})
    assert await buffer.aget_many([1, 2]) == {1: 7, 2: 1}
    await aclose()


def test_amounts_may_be_taken_away_again(buffer):
    buffer.add(1, 5)
    flush(buffer)
    buffer.add(1, -3)
    assert buffer.get_many([1]) == {1: 2}
    flush(buffer)
    assert stored()[1] == 2


def test_a_batch_that_is_long_enough_is_sealed_by_who_adds():
    buffer = behind.sums(batch=2)
    for key in (1, 2, 3, 1):
        buffer.add(key, 5)
    state = client(Role.STATE)
    assert state.zcard(buffer.part("sealed")) == 2
    assert not state.exists(buffer.part("open"))
    assert buffer.get_many(KEYS) == {1: 10, 2: 5, 3: 5, 4: 0}
    flush(buffer)
    assert stored() == {1: 10, 2: 5, 3: 5, 4: 0}
    assert batches() == 2


def test_many_sums_are_written_in_chunks(django_assert_max_num_queries):
    Thing.objects.bulk_create([Thing(pk=key) for key in range(10, 260)])
    with django_assert_max_num_queries(3):
        assert add_sums(Thing.objects.all(), "total", {key: key for key in range(10, 260)}) == 250
    assert stored()[259] == 259


# --- Exactly once --------------------------------------------------------------------------------------------------


def test_a_batch_that_was_applied_and_not_removed_is_only_removed(buffer, monkeypatch):
    buffer.add(1, 5)
    monkeypatch.setattr(buffer, "_remove", lambda batch: None)
    buffer.flush(nothing)
    assert stored()[1] == 5
    assert buffer.get_many([1]) == {1: 5}  # neither missing nor double while it lies in both places
    monkeypatch.undo()
    buffer.add(1, 1)
    assert buffer.get_many([1]) == {1: 6}
    flush(buffer)
    assert stored()[1] == 6
    assert buffer.state().entries == 0


def test_a_reader_in_the_middle_of_a_commit_reads_again(monkeypatch):
    def load(keys):
        if not reads:
            buffer.flush(nothing)  # commits between the reader's looks
        reads.append(keys)
        return behind.load_sums(keys)

    reads = []
    buffer = behind.sums(load=load)
    buffer.add(1, 5)
    assert buffer.get_many([1]) == {1: 5}
    assert len(reads) == 2


def test_a_transaction_that_is_rolled_back_leaves_no_id_behind():
    def write(amounts):
        behind.write_sums(amounts)
        if away:
            raise OperationalError

    away = [True]
    buffer = behind.sums(write=write)
    buffer.add(1, 5)
    with pytest.raises(OperationalError):
        buffer.flush(nothing)
    assert (stored()[1], batches()) == (0, 0)
    away.clear()
    flush(buffer)
    assert (stored()[1], batches()) == (5, 1)


def test_a_guard_that_refuses_keeps_the_batch(buffer):
    buffer.add(1, 5)
    with pytest.raises(StaleFence):
        buffer.flush(refuse)
    assert stored()[1] == 0
    assert buffer.get_many([1]) == {1: 5}


def test_an_operation_that_is_sent_twice_counts_once(buffer):
    adding = _Adding(buffer, {1: 5})
    for expected in (b"ok", b"again"):
        assert _add(client(Role.STATE), adding.keys, adding.arguments)[0] == expected
    assert buffer.get_many([1]) == {1: 5}
    assert 0 < client(Role.STATE).ttl(buffer.part("operations")) <= 300


# --- Without Redis -------------------------------------------------------------------------------------------------


def test_without_redis_an_addition_goes_to_the_database(buffer, redis_server):
    buffer.add(1, 5)
    redis_server.kill()
    buffer.add(1, 2)
    assert stored()[1] == 2
    assert buffer.get_many([1]) == {1: 2}  # as much as can be known
    redis_server.start()
    buffer.breaker.succeeded()
    buffer.unanswered.settle()
    assert buffer.get_many([1]) == {1: 7}
    flush(buffer)
    assert stored()[1] == 7


async def test_without_redis_the_async_form_writes_in_a_thread(buffer, redis_server):
    redis_server.kill()
    buffer.breaker.failed(ConnectionError("no connection"))
    await buffer.aadd(1, 8)
    assert await threads.run(stored) == {1: 8, 2: 0, 3: 0, 4: 0}
    await aclose()


def test_an_addition_without_an_answer_is_sent_again_and_counts_once(buffer, redis_server):
    buffer.add(1)
    redis_server.pause()
    try:
        buffer.add(1, 5)  # it lies in the socket, and will run when the server goes on
        assert len(buffer.unanswered) == 1
        buffer.add(1, 2)  # and nobody waits for the server again: directly
    finally:
        redis_server.resume()
    wait_until(lambda: not len(buffer.unanswered), 20)
    buffer.breaker.succeeded()
    assert buffer.get_many([1]) == {1: 8}
    flush(buffer)
    assert stored()[1] == 8


def test_a_refused_connection_is_told_from_a_lost_answer(redis_server):
    redis_server.kill()
    with pytest.raises(ConnectionError) as refused:
        client(Role.STATE).ping()
    assert was_refused(refused.value)
    assert was_refused(ResponseError("OOM command not allowed"))
    assert not was_refused(ConnectionError("Connection closed by server."))
    assert was_refused(TimeoutError("Timeout connecting to server"))
    assert not was_refused(TimeoutError("Timeout reading from socket"))


def test_an_operation_whose_id_the_server_has_forgotten_is_given_up_and_the_log_says_so(caplog):
    sent = []
    calls = Unanswered("visits", known=0.0)
    calls.add("first", lambda: sent.append(1))
    calls.settle()
    assert not sent
    assert not len(calls)
    assert "is given up" in caplog.text


def test_what_the_declaration_refuses_keeps_no_other_operation_waiting(caplog):
    sent = []
    calls = Unanswered("visits", known=60.0)
    calls.add("bad", lambda: 1 / 0)
    calls.add("good", lambda: sent.append(1))
    calls.settle()
    assert sent == [1]
    assert not len(calls)
    assert "was refused and is given up" in caplog.text


def test_an_addition_that_comes_back_from_redis_is_written_once_though_its_commit_had_no_answer():
    full = behind.sums(limit=1)
    full.add(1)
    adding = _Adding(full, {2: 5})
    for _ in range(2):  # as after a commit whose answer was lost
        adding._send_again()
    assert stored()[2] == 5


def test_a_server_without_memory_takes_nothing_and_nothing_is_lost(buffer):
    state = client(Role.STATE)
    everywhere = {"target_nodes": "primaries"} if hasattr(state, "get_primaries") else {}
    state.config_set("maxmemory", 1, **everywhere)
    try:
        buffer.add(1, 5)
        buffer.breaker.succeeded()
        buffer.add_many({1: 1, 2: 1})
    finally:
        state.config_set("maxmemory", 0, **everywhere)
    assert stored() == {1: 6, 2: 1, 3: 0, 4: 0}
    buffer.breaker.succeeded()
    assert buffer.get_many(KEYS) == stored()


def test_a_server_without_memory_is_emptied_all_the_same(buffer):
    state = client(Role.STATE)
    everywhere = {"target_nodes": "primaries"} if hasattr(state, "get_primaries") else {}
    buffer.add_many({1: 5, 2: 1})
    state.config_set("maxmemory", 1, **everywhere)
    try:
        with pytest.raises(ResponseError, match="maxmemory"):
            state.set(buffer.part("any"), 1)
        flush(buffer)
    finally:
        state.config_set("maxmemory", 0, **everywhere)
    assert stored() == {1: 5, 2: 1, 3: 0, 4: 0}
    assert buffer.state().entries == 0


def test_without_both_the_writer_hears_of_it(redis_server):
    def away(amounts):
        raise OperationalError

    buffer = behind.sums(write=away)
    redis_server.kill()
    buffer.breaker.failed(ConnectionError("no connection"))
    with pytest.raises(DatabaseError):
        buffer.add(1, 7)


# --- Back-pressure, and what the database refuses ------------------------------------------------------------------


def test_above_the_limit_new_keys_go_to_the_database_and_the_log_says_so_once(caplog):
    buffer = behind.sums(limit=2)
    with caplog.at_level(logging.ERROR):
        for key in (1, 2, 3, 4):
            buffer.add(key, 7)
        buffer.add(1, 1)
        assert stored() == {1: 0, 2: 0, 3: 7, 4: 7}
        assert buffer.get_many(KEYS) == {1: 8, 2: 7, 3: 7, 4: 7}
        flush(buffer)
        buffer.add(1, 1)
    said = [record.getMessage() for record in caplog.records if "Write-behind" in record.getMessage()]
    assert len(said) == 2
    assert "has room again" in said[1]
    flush(buffer)
    assert stored() == {1: 9, 2: 7, 3: 7, 4: 7}


def test_a_key_that_the_database_refuses_keeps_no_other_and_dies_in_the_end(buffer, caplog):
    buffer.add_many({1: 7, 2: -1, 3: 7, 4: 7})
    with caplog.at_level(logging.ERROR):
        buffer.flush(nothing)  # finds it and sets it apart
        buffer.flush(nothing)
        assert stored() == {1: 7, 2: 0, 3: 7, 4: 7}
        assert buffer.get_many(KEYS) == {1: 7, 2: -1, 3: 7, 4: 7}
        for _ in range(4):
            buffer.flush(nothing, force=True)
    state = buffer.state()
    assert (state.entries, state.failures, state.dead, state.flushed) == (0, 5, 1, 3)
    [dead] = buffer.dead()
    assert (dead.key, dead.value) == ("2", "-1")
    assert "IntegrityError" in dead.reason
    buffer.add(2, 5)
    flush(buffer)
    assert stored()[2] == 5


def test_keys_that_fail_only_together_go_alone():
    def write(amounts):
        if len(amounts) > 1:
            raise LookupError
        behind.write_sums(amounts)

    buffer = behind.sums(write=write)
    buffer.add_many({1: 1, 2: 2, 3: 3})
    buffer.flush(nothing)
    flush(buffer)
    assert stored() == {1: 1, 2: 2, 3: 3, 4: 0}
    assert buffer.state().dead == 0


def test_a_batch_is_not_split_when_it_was_applied_meanwhile(buffer, monkeypatch):
    """By a flusher that was paused: what it applied must not be applied again under new ids."""
    buffer.add_many({1: 7, 2: 3})
    monkeypatch.setattr(buffer, "_remove", lambda batch: None)
    buffer.flush(nothing)
    [batch] = FlushedBatch.objects.values_list("pk", flat=True)
    taker = client(Role.STATE).hget(buffer.part("state"), "taker")
    buffer._refused(batch, {"1": "7", "2": "3"}, nothing, taker, LookupError())
    monkeypatch.undo()
    flush(buffer)
    assert stored() == {1: 7, 2: 3, 3: 0, 4: 0}


def test_a_batch_is_not_split_by_who_stood_still_while_another_took_and_applied_it(monkeypatch):
    """Past its guard, and before the other has removed the batch: the parts would be applied under their new ids."""

    def write(amounts):
        if fails:
            raise LookupError
        behind.write_sums(amounts)

    def stand_still():
        if fails.pop():
            monkeypatch.setattr(buffer, "_remove", lambda batch: None)
            buffer.flush(nothing)
            monkeypatch.undo()
        return buffer.new_id()

    fails = [True]
    buffer = behind.sums(write=write)
    buffer.add_many({1: 7, 2: 3})
    monkeypatch.setattr(buffer, "new_id", stand_still)
    buffer.flush(nothing)
    assert stored() == buffer.get_many(KEYS) == {1: 7, 2: 3, 3: 0, 4: 0}
    flush(buffer)
    assert stored() == {1: 7, 2: 3, 3: 0, 4: 0}
    assert buffer.state().entries == 0


def test_the_dashboard_can_read_how_it_is_doing(buffer):
    assert buffer.state().oldest is None
    buffer.add(1, 7)
    state = buffer.state()
    assert (state.namespace, state.kind, state.entries) == ("visits", "sum", 1)
    assert 0 <= state.oldest < 30
    flush(buffer)
    assert 0 <= buffer.state().last_flush < 30


def test_ids_are_kept_for_a_week(buffer):
    from datetime import timedelta

    from django.utils import timezone

    old, young = timezone.now() - timedelta(days=8), timezone.now() - timedelta(days=6)
    FlushedBatch.objects.bulk_create(
        [FlushedBatch(pk="old", applied_at=old), FlushedBatch(pk="young", applied_at=young)]
    )
    Flusher()._prune()
    assert list(FlushedBatch.objects.values_list("pk", flat=True)) == ["young"]


# --- Together ------------------------------------------------------------------------------------------------------


def test_threads_that_add_read_and_flush_lose_and_double_nothing(buffer):
    stop, problems = threading.Event(), []

    def add():
        for _ in range(60):
            buffer.add(1)

    def read():
        last = 0
        while not stop.is_set():
            total = buffer.get_many([1])[1]
            if total < last:
                problems.append((last, total))
            last = total

    def keep_flushing():
        while not stop.is_set():
            buffer.flush(nothing)

    adders = [threading.Thread(target=add) for _ in range(3)]
    others = [threading.Thread(target=closing(work)) for work in (read, keep_flushing)]
    for thread in [*others, *adders]:
        thread.start()
    for thread in adders:
        thread.join(60)
    stop.set()
    for thread in others:
        thread.join(60)
    flush(buffer)
    assert problems == []
    assert stored()[1] == buffer.get_many([1])[1] == 180
