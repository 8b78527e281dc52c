"""django-redis' whole interface on our client; runs again on a Cluster, where its own client fails."""

import asyncio
import datetime
import time

import pytest
from django.core.cache import caches
from django.utils import timezone

from intellicolab.redis.client import Role, client

pytestmark = pytest.mark.topology

MANY = {f"key{number}": number for number in range(200)}  # over all slots of any Cluster


@pytest.fixture
def cache():
    return caches["default"]


def test_a_value_is_set_and_got(cache):
    assert cache.set("k", {"a": [1, None, "x"]}, 60)
    assert cache.get("k") == {"a": [1, None, "x"]}
    assert cache.get("none", "default") == "default"


def test_set_may_ask_that_a_key_is_new_or_there(cache):
    assert not cache.set("k", 1, 60, xx=True)
    assert cache.set("k", 1, 60, nx=True)
    assert not cache.set("k", 2, 60, nx=True)
    assert cache.set("k", 3, 60, xx=True)
    assert cache.get("k") == 3


def test_a_lifetime_may_be_a_fraction_of_a_second(cache):
    began = time.monotonic()
    cache.set("k", 1, 0.5)
    left = cache.pttl("k") / 1000
    assert 0.499 - (time.monotonic() - began) <= left <= 0.5


def test_add_keeps_what_is_there(cache):
    assert cache.add("k", 1, 60)
    assert not cache.add("k", 2, 60)
    assert cache.get("k") == 1


def test_a_key_is_deleted_and_says_whether_it_was_there(cache):
    cache.set("k", 1, 60)
    assert cache.has_key("k")
    assert cache.delete("k")
    assert not cache.delete("k")
    assert "k" not in cache


def test_numbers_are_counted_and_missing_ones_refused(cache):
    cache.set("n", 5, 60)
    assert (cache.incr("n", 3), cache.decr("n")) == (8, 7)
    assert 0 < cache.ttl("n") <= 60
    with pytest.raises(ValueError, match="not found"):
        cache.incr("missing")


def test_a_lifetime_is_read_moved_and_taken_away(cache):
    cache.set("k", 1, 60)
    assert cache.touch("k", 600)
    assert 60 < cache.ttl("k") <= 600
    assert cache.expire("k", 50)
    assert cache.ttl("k") <= 50
    assert cache.pexpire("k", 5000)
    assert cache.pttl("k") <= 5000
    assert cache.expire_at("k", timezone.now() + datetime.timedelta(hours=2))
    assert 7000 < cache.ttl("k") <= 7200
    assert cache.pexpire_at("k", timezone.now() + datetime.timedelta(hours=1))
    assert 3500 < cache.ttl("k") <= 3600
    assert cache.persist("k")
    assert cache.ttl("k") is None
    assert cache.ttl("missing") == 0


def test_many_values_are_set_got_and_deleted(cache):
    cache.set_many(MANY, 60)
    assert cache.get_many([*MANY, "missing"]) == MANY
    assert cache.ttl("key7") <= 60
    assert cache.delete_many(list(MANY)[:150]) == 150
    assert len(cache.get_many(MANY)) == 50


def test_keys_are_found_by_pattern_on_every_node(cache):
    cache.set_many(MANY, 60)
    cache.set("other", 1, 60)
    assert sorted(cache.keys("key*")) == sorted(MANY)
    assert sorted(cache.iter_keys("key*", itersize=7)) == sorted(MANY)


def test_a_pattern_is_deleted_in_batches(cache, monkeypatch):
    monkeypatch.setattr("intellicolab.redis.django_client.BATCH", 64)
    cache.set_many(MANY, 60)
    cache.set("other", 1, 60)
    assert cache.delete_pattern("key*") == len(MANY)
    assert cache.delete_pattern("key*") == 0
    assert cache.get("other") == 1


def test_a_pattern_with_special_signs_in_the_prefix_matches_only_itself(cache):
    cache.set("a*b", 1, 60)
    cache.set("axb", 2, 60)
    assert cache.delete_pattern("a[*]b") == 1
    assert cache.get("axb") == 2


def test_clear_empties_the_cache_and_leaves_the_state(cache):
    client(Role.STATE).set("session", 1)
    cache.set_many(MANY, 60)
    cache.clear()
    assert cache.get_many(MANY) == {}
    assert client(Role.STATE).get("session") == b"1"


def test_a_version_is_moved_up(cache):
    cache.set("k", "v", 60)
    assert cache.incr_version("k") == 2
    assert (cache.get("k"), cache.get("k", version=2)) == (None, "v")


async def test_the_async_methods_work(cache):
    await cache.aset("k", 1, 60)
    assert await cache.aget("k") == 1
    await cache.aset_many(MANY, 60)
    assert await cache.aget_many(MANY) == MANY


async def test_asynchronous_counters_lose_nothing_and_keep_their_lifetime(cache):
    await cache.aset("n", 0, 60)
    await asyncio.gather(*(cache.aincr("n", 2) for _ in range(20)), *(cache.adecr("n") for _ in range(20)))
    assert await cache.aget("n") == 20
    assert 0 < cache.ttl("n") <= 60
