import asyncio
import logging
import threading
import time

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured

from intellicolab.redis import addresses
from intellicolab.redis.client import Purpose, Role, async_client, client, close, safe_url


def test_the_two_roles_are_two_logical_databases():
    client(Role.STATE).set("k", "session")
    client(Role.CACHE).flushdb()
    assert client(Role.STATE).get("k") == b"session"


def test_clients_of_a_role_share_one_pool():
    assert client(Role.STATE).connection_pool is client(Role.STATE).connection_pool
    assert client(Role.STATE).connection_pool is not client(Role.CACHE).connection_pool


def test_connections_carry_a_name_that_the_server_shows():
    assert client(Role.STATE).client_getname() == "intellicolab-state-command"


async def test_async_clients_belong_to_their_loop(async_redis):
    assert await async_client(Role.STATE).ping()
    other = await asyncio.to_thread(lambda: asyncio.run(other_pool()))
    assert other is not async_client(Role.STATE).connection_pool


async def other_pool():
    made = async_client(Role.STATE)
    await made.ping()
    pool = made.connection_pool
    await pool.disconnect()
    return pool


@pytest.mark.parametrize("url", ["http://localhost", "redis-sentinel", "", "redis://localhost/0?socket_timeout=x"])
def test_an_address_that_is_none_is_refused_with_the_forms_that_work(url):
    with pytest.raises(ImproperlyConfigured, match="not a Redis address"):
        addresses.parse(url)


def test_addresses_are_shown_without_their_password():
    assert safe_url("redis://user:secret@host:6379/1") == "redis://host:6379/1"


def test_a_lost_and_a_made_link_are_logged_once_each(redis_server, caplog):
    close()
    caplog.set_level(logging.INFO, logger="intellicolab.redis")
    client(Role.STATE).ping()
    redis_server.kill()
    for _ in range(3):
        with pytest.raises(redis.ConnectionError):
            client(Role.STATE).ping()
    redis_server.start()
    client(Role.STATE).ping()
    said = [record.message.split(" to ")[0] for record in caplog.records if "Redis state" in record.message]
    assert said == ["Redis state: connected", "Redis state: no connection", "Redis state: connected"]


def test_a_restarted_server_costs_no_error(redis_server):
    """The pool notices a connection that the server has closed before it lends it."""
    client(Role.STATE).set("k", 1)
    redis_server.stop()
    redis_server.start()
    assert client(Role.STATE).incr("k") == 2


def test_a_write_that_timed_out_is_not_replayed(redis_server):
    """redis-py's default of ten retries would append the entry again for each (redis-py#3554)."""
    state = client(Role.STATE, Purpose.FAST)
    state.ping()
    redis_server.pause()
    try:
        with pytest.raises(redis.TimeoutError):
            state.xadd("stream", {"n": 1})
    finally:
        redis_server.resume()
    assert client(Role.STATE).xlen("stream") == 1  # what was in the socket's buffer arrived: once


def test_a_fast_client_gives_up_within_its_budget(redis_server):
    state = client(Role.STATE, Purpose.FAST)
    state.ping()
    redis_server.pause()
    try:
        began = time.monotonic()
        with pytest.raises(redis.TimeoutError):
            state.get("k")
        assert time.monotonic() - began < 1
    finally:
        redis_server.resume()


def test_a_blocking_read_outlasts_the_time_limit_of_commands():
    blocking = client(Role.STATE, Purpose.BLOCKING)
    blocking.ping()
    timer = threading.Timer(2.3, lambda: client(Role.STATE).rpush("list", "late"))
    timer.start()
    assert blocking.blpop(["list"], timeout=10) == (b"list", b"late")
    timer.join()
