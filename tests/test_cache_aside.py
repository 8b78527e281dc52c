"""Cache-aside: right under races, harmless without Redis, counted."""

import threading
import time
from collections import Counter

import pytest
from django.db import transaction

from accounts import services
from accounts.models import User
from accounts.profiles import PROFILE_TTL, get_profile, get_profiles
from intellicolab.cache.aside import CacheAside
from intellicolab.redis import keys
from intellicolab.redis.client import Role
from intellicolab.redis.client import client as redis_client
from intellicolab.redis.counters import counters, totals

TTL = 60


class Source:
    """The database of these tests: rows by key, and how often each was loaded."""

    def __init__(self, **rows):
        self.rows = rows
        self.loads: Counter[str] = Counter()

    def load(self, wanted):
        self.loads.update(wanted)
        return {key: self.rows[key] for key in wanted if key in self.rows}


@pytest.fixture
def source():
    return Source(a="one", b="two")


@pytest.fixture
def cache(source):
    return CacheAside("things", TTL, source.load, str)


def raw(key):
    return redis_client(Role.CACHE).get(keys.cached("things", key))


def test_a_miss_loads_and_stores_and_a_hit_loads_nothing(cache, source):
    assert [cache.get("a") for _ in range(3)] == ["one"] * 3
    assert source.loads == {"a": 1}
    assert TTL - 5 < redis_client(Role.CACHE).ttl(keys.cached("things", "a")) <= TTL


def test_that_there_is_nothing_is_cached_too(cache, source):
    assert [cache.get("nobody") for _ in range(3)] == [None] * 3
    assert source.loads == {"nobody": 1}


def test_an_invalidated_value_is_loaded_anew(cache, source):
    cache.get("a")
    source.rows["a"] = "uno"
    assert cache.get("a") == "one"
    cache.invalidate("a")
    assert cache.get("a") == "uno"


def test_many_are_loaded_with_one_call_and_only_those_that_miss(cache, source):
    cache.get("a")
    assert cache.get_many(["b", "a", "nobody", "b"]) == {"b": "two", "a": "one", "nobody": None}
    assert source.loads == {"a": 1, "b": 1, "nobody": 1}
    assert cache.get_many([]) == {}


def test_an_old_value_overtaken_by_an_invalidation_is_never_stored(source):
    def slow_load(wanted):
        rows = source.load(wanted)
        if source.loads["a"] == 1:  # the row was read; now an update commits and invalidates
            source.rows["a"] = "uno"
            things.invalidate("a")
        return rows

    things = CacheAside("things", TTL, slow_load, str)
    assert things.get("a") == "one"  # who read before the commit may see what was before it
    assert raw("a") is None
    assert things.get("a") == "uno"


def test_a_late_reader_cannot_overwrite_what_a_later_one_stored(source):
    def slow_load(wanted):
        rows = source.load(wanted)
        if source.loads["a"] == 1:
            source.rows["a"] = "uno"
            things.invalidate("a")
            assert things.get("a") == "uno"  # another reader, between our load and our store
        return rows

    things = CacheAside("things", TTL, slow_load, str)
    assert things.get("a") == "one"
    assert things.get("a") == "uno"
    assert source.loads == {"a": 2}


def test_while_one_reader_loads_another_loads_too_but_does_not_store(source):
    def slow_load(wanted):
        if not source.loads["a"]:
            source.loads["a"] += 1
            assert things.get("a") == "one"
            assert raw("a").startswith(b"L")
        return source.load(wanted)

    things = CacheAside("things", TTL, slow_load, str)
    assert things.get("a") == "one"
    assert raw("a").startswith(b"V")


def test_a_lease_left_by_a_reader_that_died_expires(cache):
    def die(wanted):
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        CacheAside("things", TTL, die, str).get("a")
    assert 0 < redis_client(Role.CACHE).ttl(keys.cached("things", "a")) <= keys.CACHE_LEASE_TTL
    assert cache.get("a") == "one"


def test_readers_and_writers_in_a_race_end_with_the_last_write(cache, source):
    """Each writer changes the row and then invalidates; when all are done, no old value may be left."""
    stop = threading.Event()
    seen = []

    def read():
        while not stop.is_set():
            seen.append(cache.get("a"))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(300):
        source.rows["a"] = str(number)
        cache.invalidate("a")
    stop.set()
    for reader in readers:
        reader.join(10)
    assert seen
    assert cache.get("a") == "299"
    assert cache.get("a") == "299"


def test_a_value_of_another_version_of_the_application_is_loaded_anew(cache, source):
    redis_client(Role.CACHE).set(keys.cached("things", "a"), b'V{"was": "an object"}')
    assert cache.get("a") == "one"
    assert cache.get("a") == "one"
    assert cache.get("a") == "one"
    assert source.loads["a"] == 2


def test_without_redis_the_loader_answers(cache, source, redis_server):
    redis_server.kill()
    assert cache.get("a") == "one"
    assert cache.get_many(["a", "nobody"]) == {"a": "one", "nobody": None}
    cache.invalidate("a")


def test_a_frozen_redis_holds_up_one_reader_and_not_the_next(cache, redis_server):
    redis_server.pause()
    try:
        assert cache.get("a") == "one"
        start = time.monotonic()
        assert cache.get("a") == "one"
        assert time.monotonic() - start < 0.5
    finally:
        redis_server.resume()


def test_an_invalidation_that_an_outage_prevented_is_made_up_for(cache, source, redis_server):
    cache.get("a")
    redis_server.kill()
    source.rows["a"] = "uno"
    cache.invalidate("a")
    redis_server.start()
    assert raw("a") == b'V"one"'  # the append-only file kept the old value
    assert cache.get("a") == "uno"
    assert raw("a") == b'V"uno"'


def test_what_happens_is_counted(cache, redis_server):
    counters.flush()
    before = Counter(totals("cache"))
    cache.get("a")
    cache.get_many(["a", "b"])
    counters.flush()
    assert Counter(totals("cache")) - before == {"things:hit": 1, "things:miss": 2}
    redis_server.kill()
    cache.get("a")
    redis_server.start()
    counters.flush()
    assert totals("cache")["things:error"] == before["things:error"] + 1


@pytest.mark.django_db
def test_inside_a_transaction_the_cache_is_passed_by(cache, source):
    with transaction.atomic():
        cache.get("a")
        source.rows["a"] = "uncommitted"
        assert cache.get("a") == "uncommitted"
    assert raw("a") is None


# --- Profiles --------------------------------------------------------------------------------------------------------


@pytest.fixture
def alice(transactional_db, make_user):
    return make_user("alice")


def profile(user):
    found = get_profile(user.pk)
    assert found is not None
    return found


def name_of(user):
    return profile(user).name


def change(user, **changes):
    values = {"display_name": user.display_name, "bio": user.bio, "time_zone": user.time_zone}
    return services.update_profile(user, **{**values, **changes})


def test_a_profile_is_cached_for_ten_minutes(alice, django_assert_num_queries):
    assert PROFILE_TTL == 600
    with django_assert_num_queries(1):
        assert name_of(alice) == "Alice"
    with django_assert_num_queries(0):
        assert name_of(alice) == "Alice"
    ttl = redis_client(Role.CACHE).ttl(keys.cached("profile", alice.pk))
    assert 590 < ttl <= 600


def test_several_profiles_cost_one_query(alice, make_user, django_assert_num_queries):
    bob = make_user("bob")
    get_profile(alice.pk)
    with django_assert_num_queries(1):
        profiles = get_profiles([alice.pk, bob.pk, 987654])
    assert {key: profile and profile.name for key, profile in profiles.items()} == {
        alice.pk: "Alice",
        bob.pk: "Bob",
        987654: None,
    }
    with django_assert_num_queries(0):
        get_profiles([alice.pk, bob.pk, 987654])


def by_service(user):
    change(user, display_name="Changed")


def by_save(user):
    user.display_name = "Changed"
    user.save()


def by_named_fields(user):
    user.display_name = "Changed"
    user.save(update_fields=["display_name"])


@pytest.mark.database
@pytest.mark.parametrize("update", [by_service, by_save, by_named_fields])
def test_every_update_is_seen_at_once(alice, update):
    assert name_of(alice) == "Alice"
    update(alice)
    assert name_of(alice) == "Changed"


def test_a_deactivation_of_many_is_seen_at_once(alice, make_user):
    bob = make_user("bob")
    assert profile(alice).active
    assert profile(bob).active
    assert services.set_active(User.objects.all(), False) == 2
    assert not profile(alice).active
    assert not profile(bob).active


def test_a_deleted_person_has_no_profile(alice):
    number = alice.pk
    assert get_profile(number)
    alice.delete()
    assert get_profile(number) is None


def test_signing_in_does_not_empty_the_cache(alice, client, django_assert_num_queries):
    get_profile(alice.pk)
    client.force_login(alice)
    with django_assert_num_queries(0):
        get_profile(alice.pk)


@pytest.mark.database
def test_others_see_an_update_after_its_commit_and_not_before(alice):
    assert name_of(alice) == "Alice"
    seen = []

    def look():
        seen.append(name_of(alice))

    with transaction.atomic():
        User.objects.filter(pk=alice.pk).update(display_name="Changed")
        alice.display_name = "Changed"
        alice.save()
        reader = threading.Thread(target=look)
        reader.start()
        reader.join(10)
    assert seen == ["Alice"]
    assert name_of(alice) == "Changed"


def test_an_update_that_is_rolled_back_changes_nothing(alice):
    get_profile(alice.pk)
    with transaction.atomic():
        change(alice, display_name="Changed")
        assert name_of(alice) == "Changed"
        transaction.set_rollback(True)
    assert name_of(alice) == "Alice"
