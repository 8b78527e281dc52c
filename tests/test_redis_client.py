import asyncio
import contextlib
import logging
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured

from intellicolab.redis import addresses, cluster
from intellicolab.redis import client as clients
from intellicolab.redis.client import Purpose, Role, async_client, client, close, primaries, reports, safe_url

from .topologies import HOST, settings_of, until


def test_the_two_roles_are_two_logical_databases():
    client(Role.STATE).set("k", "session")
    client(Role.CACHE).flushdb()
    assert client(Role.STATE).get("k") == b"session"


def test_clients_of_a_role_share_one_pool():
    assert client(Role.STATE).connection_pool is client(Role.STATE).connection_pool
    assert client(Role.STATE).connection_pool is not client(Role.CACHE).connection_pool


@pytest.mark.topology
def test_closing_cuts_off_nobody_who_waits_for_an_answer():
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(client(Role.STATE, Purpose.BLOCKING).blpop, ["letters"], timeout=30)
        until(lambda: any(info["blocked_clients"] for info in reports(Role.STATE, "clients")))
        close()
        client(Role.STATE).rpush("letters", "from alice")
        assert waiting.result(10) == (b"letters", b"from alice")


def test_a_cluster_that_is_silent_holds_up_nobody_but_those_who_want_it(settings):
    def ask_the_silent():
        with contextlib.suppress(redis.ConnectionError):
            client(Role.STATE, Purpose.BLOCKING)  # without a limit of time, so it ends when the test says so

    with contextlib.ExitStack() as running:
        pool = running.enter_context(ThreadPoolExecutor())
        silent = running.enter_context(socket.create_server((HOST, 0)))
        url = f"redis+cluster://{HOST}:{silent.getsockname()[1]}"
        running.enter_context(settings_of(settings, url, settings.REDIS_URLS["cache"]))
        asking = pool.submit(ask_the_silent)
        running.enter_context(silent.accept()[0])
        assert pool.submit(lambda: client(Role.CACHE).ping()).result(10)
        assert not asking.done()


def test_threads_that_waited_while_one_asked_a_silent_cluster_share_its_failure():
    """Each asking every node for itself, one after another, the last of many would wait for a minute."""
    asked, end = [], threading.Event()

    def initialize():
        asked.append(threading.current_thread())
        end.wait(30)
        raise redis.exceptions.RedisClusterException("no node answers")

    def waiting():
        """Those that came after the one that asks: it is further in."""
        frames = [frame for frame in sys._current_frames().values() if frame.f_code.co_name == "told"]
        return sum("began" in frame.f_locals for frame in frames)

    told = cluster._told(initialize)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(told) for _ in range(4)]
        until(lambda: waiting() == 3)
        end.set()
        assert [type(answer.exception(30)) for answer in answers] == [redis.ConnectionError] * 4
        assert len(asked) == 1
        assert isinstance(pool.submit(told).exception(30), redis.ConnectionError)
        assert len(asked) == 2  # who comes later asks again


def test_a_client_that_was_being_made_when_all_were_closed_is_not_kept(monkeypatch):
    """The settings may name another server since then."""
    make = clients._client

    def close_meanwhile(*args):
        made = make(*args)
        close()
        return made

    close()
    with monkeypatch.context() as patched:
        patched.setattr(clients, "_client", close_meanwhile)
        late = client(Role.STATE, Purpose.FAST)
    assert late.ping()
    late.close()
    kept = client(Role.STATE, Purpose.FAST)
    assert kept is not late
    assert kept is client(Role.STATE, Purpose.FAST)


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


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "redis-sentinel",
        "",
        "redis://localhost/0?socket_timeout=x",
        "redis://one,two/0",
        "redis://:sec#ret@host",
        "unix://",
        "redis+sentinel://host",
        "redis+sentinel://host/team/x",
        "redis+sentinel://host/team?sentinel_color=blue",
        "redis+cluster://one,,two",
        "redis+cluster://one/1",
        "redis+cluster://one?db=1",
    ],
)
def test_an_address_that_is_none_is_refused_with_the_forms_that_work(url):
    with pytest.raises(
        ImproperlyConfigured, match=r"not a Redis address.*redis\+sentinel://.*redis\+cluster://"
    ) as error:
        addresses.parse(url)
    assert "\n" not in str(error.value)
    assert "ret@" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@host:6379/1", "redis://host:6379/1"),
        ("redis://:se/cret@host/1", "redis://host/1"),
        ("redis://:se?cret@host/1", "redis://…"),
        ("redis://:se#cret@host/1", "redis://…"),
        ("unix:///run/r.sock?password=secret", "unix:///run/r.sock"),
        ("unix:///run/r.sock?password=sec@ret", "unix://…"),
        (
            "redis+sentinel://u:secret@a:1,[::1]:2/team/0?sentinel_password=secret",
            "redis+sentinel://a:1,[::1]:2/team/0",
        ),
        ("rediss+cluster://u:secret@a:1,b:2", "rediss+cluster://a:1,b:2"),
    ],
)
def test_addresses_are_shown_without_their_password(url, shown):
    assert safe_url(url) == shown


def test_an_address_names_several_nodes_and_the_sentinels_own_password():
    address = addresses.parse("redis+sentinel://u:p%40@a,b:26380,[::1]:3/team/2?socket_timeout=3&sentinel_password=q")
    assert (address.kind, address.service, address.db) == ("sentinel", "team", 2)
    assert address.nodes == (("a", 26379), ("b", 26380), ("::1", 3))
    assert address.options == {"username": "u", "password": "p@", "socket_timeout": 3.0, "db": 2}
    assert address.sentinel_options == {"password": "q"}
    assert addresses.parse("rediss+cluster://a:1,b").nodes == (("a", 1), ("b", 6379))


def test_an_address_hides_its_password_when_it_is_printed():
    assert "secret" not in repr(addresses.parse("redis+sentinel://:secret@a/team?sentinel_password=secret"))


def test_the_primary_of_one_server_is_itself(redis_server):
    (primary,) = primaries(Role.CACHE)
    assert primary.name == str(redis_server.socket)
    client(Role.CACHE).set("k", 1)
    with primary.client() as own:
        assert own.get("k") == b"1"


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
    try:
        assert blocking.blpop(["list"], timeout=10) == (b"list", b"late")
    finally:
        timer.join()


def test_a_time_limit_in_the_address_is_for_commands_and_cuts_no_blocking_read_short(settings):
    with settings_of(settings, f"{settings.REDIS_URLS['state']}&socket_timeout=0.2", settings.REDIS_URLS["cache"]):
        limits = [client(Role.STATE, purpose).get_connection_kwargs()["socket_timeout"] for purpose in Purpose]
        assert limits == [0.2, 0.2, None, 12.0]
        assert client(Role.STATE, Purpose.WAITING).blpop(["nothing"], timeout=0.5) is None
