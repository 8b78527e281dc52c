"""Write-through: the database and the cache change together, or neither does."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, OperationalError, connections, transaction

from accounts.models import User
from intellicolab import threads as workers
from intellicolab.cache.declaration import Cached
from intellicolab.cache.effects import drive
from intellicolab.cache.envelope import opened
from intellicolab.cache.strategies import WriteThrough
from intellicolab.redis import keys
from intellicolab.redis.client import Role, client

pytestmark = [pytest.mark.topology, pytest.mark.database, pytest.mark.django_db(transaction=True)]
SOON = 5.0  # seconds


class Bios:
    """What people say of themselves, with what shall happen while one is written or loaded."""

    def __init__(self, **options: Any) -> None:
        self.while_writing = self.while_loading = lambda: None
        self.cached: Cached[str] = Cached(
            "bios", "{user_id}", self.load, ttl=60, type=str, strategy=WriteThrough(writer=self.write), **options
        )
        del Cached.declared[-1]

    def load(self, user_id: int) -> str | None:
        bio = User.objects.filter(pk=user_id).values_list("bio", flat=True).first()
        during, self.while_loading = self.while_loading, lambda: None
        during()
        return bio

    def write(self, user_id: int, bio: str) -> str:
        User.objects.filter(pk=user_id).update(bio=bio)
        during, self.while_writing = self.while_writing, lambda: None
        during()
        return bio.strip()


@pytest.fixture
def person(make_user) -> int:
    return make_user("alice", bio="old").pk


@pytest.fixture
def bios() -> Bios:
    return Bios()


@pytest.fixture
def threads() -> Iterator[Any]:
    """Start a thread; it closes its database connection, and is waited for."""
    running = []

    def start(func, *arguments, **named):
        def run():
            try:
                func(*arguments, **named)
            finally:
                connections.close_all()

        thread = threading.Thread(target=run)
        running.append(thread)
        thread.start()
        return thread

    yield start
    for thread in running:
        thread.join(20)
        assert not thread.is_alive()


def raw(person: int) -> bytes | None:
    data: Any = client(Role.CACHE).get(keys.cached("bios", person))
    return None if data is None else opened(data).payload


def stored(person: int) -> str:
    return User.objects.values_list("bio", flat=True).get(pk=person)


def wait_until(happens) -> None:
    deadline = time.monotonic() + SOON
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- One writer ------------------------------------------------------------------------------------------


def test_what_is_committed_is_cached_at_once_and_as_it_was_written(bios, person):
    assert bios.cached.get(person) == "old"
    assert bios.cached.set(person, value=" new ") == "new"
    assert raw(person) == b'"new"'
    assert bios.cached.get(person) == "new"


async def test_the_asynchronous_form_does_the_same(bios, make_user, async_redis):
    try:
        alice = await workers.run(make_user, "alice", bio="old")
        assert await bios.cached.aset(alice.pk, value="new") == "new"
        assert await bios.cached.aget(alice.pk) == "new"
        assert raw(alice.pk) == b'"new"'
    finally:
        await asyncio.to_thread(workers.close)  # with their database connections


def test_before_the_commit_the_cache_is_as_it_was(bios, person):
    bios.cached.get(person)
    with transaction.atomic():
        bios.cached.set(person, value="new")
        assert bios.cached.get(person) == "new"  # the transaction sees its own rows
        assert raw(person) == b'"old"'
    assert raw(person) == b'"new"'


def test_a_writer_that_fails_changes_nothing(bios, person):
    bios.cached.get(person)

    def fail():
        raise LookupError("no")

    bios.while_writing = fail
    with pytest.raises(LookupError):
        bios.cached.set(person, value="new")
    assert (stored(person), raw(person), bios.cached.get(person)) == ("old", b'"old"', "old")


@pytest.mark.parametrize("before", [True, False])
def test_a_rolled_back_outer_transaction_changes_nothing(bios, person, before):
    if before:
        bios.cached.get(person)
    with transaction.atomic():
        bios.cached.set(person, value="new")
        transaction.set_rollback(True)
    assert stored(person) == "old"
    assert raw(person) == (b'"old"' if before else None)
    assert bios.cached.get(person) == "old"


def test_a_rolled_back_savepoint_changes_nothing_though_the_transaction_commits(bios, person):
    bios.cached.get(person)
    with transaction.atomic():
        with transaction.atomic():
            bios.cached.set(person, value="new")
            transaction.set_rollback(True)
        User.objects.filter(pk=person).update(display_name="Alicia")
    assert (stored(person), raw(person)) == ("old", b'"old"')


def test_a_writer_that_rolls_its_own_transaction_back_in_silence_changes_nothing(bios, person):
    bios.cached.get(person)
    bios.while_writing = lambda: transaction.set_rollback(True)
    bios.cached.set(person, value="new")
    assert (stored(person), raw(person), bios.cached.get(person)) == ("old", b'"old"', "old")


def test_a_commit_that_the_database_refuses_changes_nothing(bios, person):
    """A foreign key to nobody, which both databases check at the commit."""
    bios.cached.get(person)
    content = ContentType.objects.get_for_model(User).pk

    def break_a_rule():
        LogEntry.objects.create(user_id=10**6, content_type_id=content, object_id="1", action_flag=ADDITION)

    bios.while_writing = break_a_rule
    with pytest.raises(IntegrityError):
        bios.cached.set(person, value="new")
    assert (stored(person), raw(person), bios.cached.get(person)) == ("old", b'"old"', "old")
    assert not client(Role.CACHE).exists(keys.flight(keys.cached("bios", person)))  # readers need not wait


def test_a_commit_whose_outcome_nobody_knows_has_the_next_reader_look(bios, person, monkeypatch):
    """The connection is lost after COMMIT was sent: the row is changed, and the writer gets an error."""
    bios.cached.get(person)
    connection = connections["default"]
    commit = connection._commit

    def commit_and_lose():
        commit()
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(connection, "_commit", commit_and_lose)
    with pytest.raises(OperationalError):
        bios.cached.set(person, value="new")
    monkeypatch.undo()
    assert stored(person) == "new"
    assert bios.cached.get(person) == "new"


def test_what_cannot_be_cached_is_not_committed(bios, person):
    bios.cached.get(person)
    broken = Cached("bios", "{user_id}", bios.load, ttl=60, type=str, strategy=WriteThrough(writer=write_and_return_it))
    del Cached.declared[-1]
    with pytest.raises(TypeError):
        broken.set(person, value="new")
    assert (stored(person), raw(person), bios.cached.get(person)) == ("old", b'"old"', "old")


def write_and_return_it(user_id: int, bio: str) -> Any:
    User.objects.filter(pk=user_id).update(bio=bio)
    return object()


def test_a_refresh_inside_a_transaction_shows_nobody_what_is_not_committed(bios, person):
    with transaction.atomic():
        User.objects.filter(pk=person).update(bio="uncommitted")
        assert bios.cached.refresh(person) == "uncommitted"
        assert raw(person) is None
        transaction.set_rollback(True)
    assert bios.cached.get(person) == "old"
    with transaction.atomic():
        User.objects.filter(pk=person).update(bio="new")
        bios.cached.refresh(person)
        assert raw(person) == b'"old"'
    assert raw(person) == b'"new"'


# --- Readers meanwhile -----------------------------------------------------------------------------------


def test_a_load_that_began_before_the_write_is_not_stored_after_it(bios, person, threads):
    loading, go = threading.Event(), threading.Event()

    def pause():
        loading.set()
        go.wait(SOON)

    bios.while_loading = pause
    reader = threads(bios.cached.get, person)
    assert loading.wait(SOON)
    bios.cached.set(person, value="new")
    go.set()
    reader.join(SOON)
    assert raw(person) == b'"new"'


def test_a_reader_during_the_write_has_the_old_value_and_stores_it_not(bios, person, threads):
    """Between the claim and the commit the row is still the old one for everybody else."""
    seen = []

    def read():
        seen.append(bios.cached.get(person))

    with transaction.atomic():
        bios.cached.set(person, value="new")
        threads(read).join(SOON)
        assert raw(person) is None
    assert seen == ["old"]
    assert raw(person) == b'"new"'


def test_a_transaction_that_outlives_the_lease_leaves_no_old_value(person, threads):
    bios = Bios(lease=0.1)
    flight = keys.flight(keys.cached("bios", person))
    with transaction.atomic():
        bios.cached.set(person, value="new")
        wait_until(lambda: not client(Role.CACHE).exists(flight))
        threads(bios.cached.get, person).join(SOON)
        assert raw(person) == b'"old"'  # a reader's, after the claim was over
    assert raw(person) is None
    assert bios.cached.get(person) == "new"


def test_a_writer_that_dies_after_its_commit_leaves_the_old_value_no_longer_than_its_lease(person):
    bios = Bios(lease=0.3)
    bios.cached.get(person)
    drive(bios.cached._engine.claim_write(bios.cached.place(person)))
    User.objects.filter(pk=person).update(bio="new")  # and nothing else happens
    assert bios.cached.get(person) == "old"
    wait_until(lambda: raw(person) is None)
    assert bios.cached.get(person) == "new"


# --- Several writers -------------------------------------------------------------------------------------


def test_a_writer_that_stores_late_does_not_put_its_value_over_a_later_one(bios, person, threads):
    committed, go = threading.Event(), threading.Event()

    def pause():
        committed.set()
        go.wait(SOON)

    bios.while_writing = lambda: transaction.on_commit(pause)  # after the commit, before the value is stored
    first = threads(bios.cached.set, person, value="first")
    assert committed.wait(SOON)
    bios.cached.set(person, value="second")
    assert bios.cached.get(person) == "second"
    go.set()
    first.join(SOON)
    assert bios.cached.get(person) == "second" == stored(person)


def test_writers_that_wait_for_each_other_end_with_the_last_ones_value(bios, person, threads):
    writing, go = threading.Event(), threading.Event()

    def pause():
        writing.set()
        go.wait(SOON)

    bios.while_writing = pause
    first = threads(bios.cached.set, person, value="first")
    assert writing.wait(SOON)
    second = threads(bios.cached.set, person, value="second")  # waits for the row, or for its turn to write
    go.set()
    first.join(SOON)
    second.join(SOON)
    assert bios.cached.get(person) == "second" == stored(person)


def test_writers_and_readers_in_a_race_end_with_the_databases_value(bios, person, threads):
    stop = threading.Event()

    def read():
        while not stop.is_set():
            bios.cached.get(person)

    def write(name):
        for number in range(10):
            bios.cached.set(person, value=f"{name} {number}")

    threads(read)
    writers = [threads(write, name) for name in ("bob", "charlie")]
    for writer in writers:
        writer.join(20)
    stop.set()
    assert bios.cached.get(person) == stored(person)


# --- What dies -------------------------------------------------------------------------------------------


def test_a_process_that_dies_before_it_stores_leaves_the_old_value_no_longer_than_it_lives(bios, person):
    """All that the dead one did: the row, the claim and the commit."""
    bios.cached.get(person)
    with transaction.atomic():
        bios.write(person, "new")
        assert drive(bios.cached._engine.claim_write(bios.cached.place(person)))
    assert bios.cached.get(person) == "old"
    assert client(Role.CACHE).pttl(keys.cached("bios", person)) <= 60_000
    client(Role.CACHE).delete(keys.cached("bios", person))  # it expires
    assert bios.cached.get(person) == "new"
    assert raw(person) is None  # the claim is still there; no reader waits for it


def test_without_redis_at_the_claim_the_write_is_committed_and_seen(bios, person, redis_server):
    bios.cached.get(person)
    bios.while_writing = redis_server.kill
    assert bios.cached.set(person, value="new") == "new"
    assert bios.cached.get(person) == "new"
    redis_server.start()
    assert bios.cached.get(person) == "new"


def test_without_redis_after_the_commit_the_old_value_is_never_read_here_again(bios, person, redis_server):
    bios.cached.get(person)
    bios.while_writing = lambda: transaction.on_commit(redis_server.kill)
    bios.cached.set(person, value="new")
    assert bios.cached.get(person) == "new"
    redis_server.start()
    assert bios.cached.get(person) == "new"
    wait_until(lambda: raw(person) in (None, b'"new"'))
