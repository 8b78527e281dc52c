"""One command on a kept connection: quick, and as safe as redis-py's own way."""

import asyncio
import os
import threading

import pytest
from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError

from intellicolab.redis.client import Role, aclose, async_client, client, close
from intellicolab.redis.direct import aask, ask


@pytest.fixture
def state():
    return client(Role.STATE)


def test_it_answers_as_the_server_does(state):
    assert ask(state, "SET", "k", b"\x00v", "EX", 60) == b"OK"
    assert ask(state, "GET", "k") == b"\x00v"
    assert ask(state, "STRLEN", "k") == 2
    assert ask(state, "GET", "no such key") is None


def test_an_error_of_the_server_is_raised_and_the_connection_goes_on(state):
    with pytest.raises(ResponseError, match="wrong number"):
        ask(state, "GET", "k", "too many")
    assert ask(state, "SET", "k", 1) == b"OK"


def test_a_connection_is_kept_and_used_again(state):
    numbers = {ask(state, "CLIENT", "ID") for _ in range(5)}
    assert len(numbers) == 1


def test_many_threads_never_read_each_other_s_answers(state):
    wrong = []

    def work(number):
        for turn in range(100):
            ask(state, "SET", f"k{number}", f"{number}:{turn}")
            if ask(state, "GET", f"k{number}") != f"{number}:{turn}".encode():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_connection_that_the_server_has_closed_is_replaced(redis_server):
    state = client(Role.STATE)
    ask(state, "SET", "k", 1)
    redis_server.kill()
    redis_server.start()
    assert ask(state, "SET", "k", 2) == b"OK"


def test_an_answer_that_did_not_come_is_read_by_nobody(redis_server):
    state = client(Role.STATE)
    ask(state, "SET", "k", "mine")
    redis_server.pause()
    try:
        with pytest.raises((TimeoutError, OSError)):
            ask(state, "GET", "k")
    finally:
        redis_server.resume()
    client(Role.STATE).get("k")  # it answers again
    assert ask(state, "SET", "other", 1) == b"OK"


def test_who_is_gone_is_an_error_at_once(redis_server):
    state = client(Role.STATE)
    ask(state, "SET", "k", 1)
    redis_server.kill()
    with pytest.raises((RedisError, OSError)):
        ask(state, "GET", "k")


def test_closing_closes_what_was_kept(state):
    number = ask(state, "CLIENT", "ID")
    close()
    listed = {int(each["id"]) for each in client(Role.STATE).client_list()}
    assert number not in listed


def test_a_forked_child_uses_connections_of_its_own(redis_server):
    state = client(Role.STATE)
    ours = ask(state, "CLIENT", "ID")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, str(ask(state, "CLIENT", "ID")).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = int(os.read(read, 100))
    os.close(read)
    os.close(write)
    assert theirs != ours
    assert ask(state, "CLIENT", "ID") == ours


async def test_it_has_an_asynchronous_form():
    state = async_client(Role.STATE)
    assert await aask(state, "SET", "k", b"v") == b"OK"
    with pytest.raises(ResponseError):
        await aask(state, "GET", "k", "too many")
    assert await aask(state, "GET", "k") == b"v"
    await aclose()


async def test_asynchronously_too_a_lost_server_is_an_error_and_is_found_again(redis_server):
    state = async_client(Role.STATE)
    await aask(state, "SET", "k", b"v")
    redis_server.kill()
    with pytest.raises((ConnectionError, OSError)):
        await aask(state, "GET", "k")
    redis_server.start()
    assert await aask(state, "SET", "k", b"w") == b"OK"
    await aclose()


async def test_asynchronously_too_a_connection_is_kept_and_used_again():
    state = async_client(Role.STATE)
    numbers = {await aask(state, "CLIENT", "ID") for _ in range(5)}
    assert len(numbers) == 1
    await aclose()


async def test_many_tasks_never_read_each_other_s_answers():
    state = async_client(Role.STATE)

    async def echoed(text):
        return [await aask(state, "ECHO", f"{text}:{turn}") for turn in range(20)]

    said = await asyncio.gather(*map(echoed, range(20)))
    assert said == [[f"{text}:{turn}".encode() for turn in range(20)] for text in range(20)]
    await aclose()


async def test_asynchronously_too_an_answer_that_did_not_come_is_read_by_nobody(redis_server):
    state = async_client(Role.STATE)
    await aask(state, "SET", "k", "mine")
    redis_server.pause()
    try:
        with pytest.raises(TimeoutError):
            await aask(state, "GET", "k")
        given_up = asyncio.ensure_future(aask(state, "GET", "k"))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises((asyncio.CancelledError, RedisError, OSError)):
            await given_up
    finally:
        redis_server.resume()
    assert await aask(async_client(Role.STATE), "ECHO", "awake") == b"awake"
    assert [await aask(state, "ECHO", text) for text in ("one", "two")] == [b"one", b"two"]
    await aclose()


async def test_asynchronously_too_a_connection_that_the_server_has_closed_is_replaced(redis_server):
    state = async_client(Role.STATE)
    await aask(state, "SET", "k", 1)
    redis_server.kill()
    redis_server.start()
    await asyncio.sleep(0.1)  # the loop hears of it
    assert await aask(state, "SET", "k", 2) == b"OK"
    await aclose()
