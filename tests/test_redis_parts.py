"""Scripts, codec, counters, keys and the system checks of the Redis floor."""

import contextlib
import inspect
import re
import tempfile
import time
from pathlib import Path
from uuid import UUID

import pytest
from django.core.cache import cache, caches
from django.core.checks import run_checks

from intellicolab import checks
from intellicolab.cache import checks as cache_checks
from intellicolab.redis import keys
from intellicolab.redis.client import Role, async_client, client
from intellicolab.redis.codec import CodecError, JSONSerializer, decode, encode
from intellicolab.redis.counters import Counters, hour, minute, totals
from intellicolab.redis.embedded import EmbeddedServer
from intellicolab.redis.scripts import Script

from .environment import topology
from .site import ROOT
from .topologies import settings_of

pytestmark = pytest.mark.topology

HEADER = "-- Count. KEYS[1]: a counter. ARGV[1]: by how much.\n"


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "count.lua"
    path.write_text(HEADER + "return redis.call('INCRBY', KEYS[1], ARGV[1])")
    return Script(path)


def test_a_script_is_loaded_again_after_the_server_forgot_it(script):
    state = client(Role.STATE)
    assert script(state, ["n"], [2]) == 2
    state.script_flush()
    assert script(state, ["n"], [3]) == 5
    assert state.evalsha(script.sha, 1, "n", 1) == 6


async def test_a_script_runs_async_too(script, async_redis):
    assert await script.call_async(async_client(Role.STATE), ["n"], [2]) == 2
    assert await script.call_async(async_client(Role.STATE), ["n"], [2]) == 4


def test_a_script_without_a_header_is_refused(tmp_path):
    path = tmp_path / "bare.lua"
    path.write_text("return 1")
    with pytest.raises(ValueError, match="header that names its KEYS and ARGV"):
        Script(path)


def test_the_codec_keeps_what_json_has_and_refuses_the_rest():
    value = {"a": [1, 2.5, None, "é"], "b": True}
    assert decode(encode(value)) == value
    assert decode(encode(UUID(int=1)), UUID) == UUID(int=1)
    with pytest.raises(CodecError):
        decode(b"\x80\x04N.")  # a pickle
    with pytest.raises(TypeError):
        encode(object())


def test_django_caches_and_sessions_store_json():
    cache.set("k", {"n": 1})
    assert client(Role.CACHE).get(cache.make_key("k")) == b'{"n":1}'
    assert cache.get("k") == {"n": 1}
    assert caches["sessions"].client._serializer.__class__ is JSONSerializer


def test_clearing_the_cache_leaves_the_state_alone():
    caches["sessions"].set("s", 1)
    cache.set("c", 1)
    cache.clear()
    assert cache.get("c") is None
    assert caches["sessions"].get("s") == 1


def test_counters_reach_the_minute_and_the_totals_with_a_ttl():
    counted = Counters()
    counted.add("cache", "profile:hit", 2)
    counted.add("cache", "profile:hit")
    counted.add("limit", "refused")
    now = int(time.time() // 60)
    counted.stop()
    both = [minute("cache", now), minute("cache", now + 1)]  # the minute may turn in between
    assert {"profile:hit": 3} in both
    assert totals("cache") == {"profile:hit": 3}
    assert totals("limit") == {"refused": 1}
    state = client(Role.STATE)
    ttl = max(state.ttl(keys.counters_minute("cache", now)), state.ttl(keys.counters_minute("cache", now + 1)))
    assert 0 < ttl <= keys.COUNTERS_MINUTE_TTL == 24 * 3600


def test_counters_reach_the_hour_for_ninety_days():
    counted = Counters()
    counted.add("cache", "profile:hit", 3)
    now = int(time.time() // 3600)
    counted.stop()
    assert {"profile:hit": 3} in [hour("cache", now), hour("cache", now + 1)]
    state = client(Role.STATE)
    ttl = max(state.ttl(keys.counters_hour("cache", now)), state.ttl(keys.counters_hour("cache", now + 1)))
    assert keys.COUNTERS_HOUR_TTL - 60 < ttl <= keys.COUNTERS_HOUR_TTL == 90 * 24 * 3600


def test_counters_outlive_an_outage(redis_server):
    counted = Counters()
    redis_server.kill()
    counted.add("cache", "hit")
    counted.flush()
    redis_server.start()
    counted.add("cache", "hit")
    counted.stop()
    assert totals("cache") == {"hit": 2}


def test_every_key_has_its_hash_tag_and_a_ttl_or_a_reason():
    source = inspect.getsource(keys)
    functions = [f for name, f in inspect.getmembers(keys, inspect.isfunction) if not name.endswith("_prefix")]
    assert functions
    for function in functions:
        parameters = inspect.signature(function).parameters
        example = function(*(keys.cached("x", "x") if name == "value" else "x" for name in parameters))
        assert example.startswith("ic:"), example
        assert "{" in example, example
        assert "}" in example, example
    for line, following in zip(source.splitlines(), source.splitlines()[1:], strict=False):
        if following.endswith("_TTL = None"):
            assert line.startswith("# No TTL:"), following


def check_ids(**kwargs):
    return {message.id for message in run_checks(**kwargs) if message.id.startswith("intellicolab.")}


@pytest.mark.skipif(topology is not None, reason="the servers of TEST_REDIS keep no append-only file, and W002 says so")
def test_a_good_installation_passes_the_checks():
    assert check_ids(include_deployment_checks=True) == set()


@pytest.mark.parametrize(
    ("state", "cache", "same"),
    [
        ("redis://localhost:6379", "redis://localhost/0", True),
        ("redis+cluster://a,b", "redis+cluster://b:6379,c", True),
        ("redis+cluster://a,b", "redis+cluster://c,d", False),
        ("redis+sentinel://a,b/team", "redis+sentinel://b,c/team/0", True),
        ("redis+sentinel://a,b/team", "redis+sentinel://a,b/team/1", False),
        ("redis+sentinel://a,b/team", "redis+sentinel://a,b/cache", False),
    ],
)
def test_one_database_for_both_roles_is_an_error(settings, state, cache, same):
    settings.REDIS_URLS = {"state": state, "cache": cache}
    assert ("intellicolab.E002" in check_ids()) is same


def test_one_database_under_two_names_is_an_error_when_the_server_is_asked(settings, redis_server):
    other = redis_server.folder / ".." / redis_server.folder.name / "valkey.sock"
    with settings_of(settings, redis_server.url(), f"unix://{other}?db=0"):
        assert check_ids() == set()  # by their names they are two
        assert check_ids(include_deployment_checks=True) == {"intellicolab.E002"}
    with settings_of(settings, redis_server.url(), f"unix://{other}?db=1"):
        assert check_ids(include_deployment_checks=True) == set()


def test_every_check_is_documented():
    documented = set(re.findall(r"`intellicolab\.([EW]\d+)`", (ROOT / "docs" / "deployment.md").read_text()))
    source = inspect.getsource(checks) + inspect.getsource(cache_checks)
    assert documented == set(re.findall(r'id="intellicolab\.([EW]\d+)"', source))


@pytest.mark.parametrize(
    ("secure", "proxies", "warned"), [(True, [], True), (True, ["127.0.0.1"], False), (False, [], False)]
)
def test_https_that_nobody_is_believed_to_use_is_warned_of(settings, secure, proxies, warned):
    settings.SECURE, settings.TRUSTED_PROXIES = secure, proxies
    assert ("intellicolab.W003" in check_ids()) is warned


def test_an_address_that_is_none_is_an_error_with_its_variable(settings):
    settings.REDIS_URLS = {"state": "memcached://localhost", "cache": "redis://localhost/1"}
    found = [message for message in run_checks() if message.id == "intellicolab.E001"]
    assert [message.hint for message in found] == ["Correct REDIS_URL."]


def test_a_state_server_that_evicts_or_forgets_is_warned_of(settings):
    with contextlib.ExitStack() as running:
        # pytest's own path is too long for a socket
        folder = running.enter_context(tempfile.TemporaryDirectory(prefix="ic-"))
        server = EmbeddedServer(Path(folder), config=["maxmemory-policy allkeys-lru"])
        running.callback(server.stop)
        server.start()
        running.enter_context(settings_of(settings, server.url(0), server.url(1)))
        assert check_ids(include_deployment_checks=True) == {"intellicolab.W001", "intellicolab.W002"}
