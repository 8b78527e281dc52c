"""The lock while Redis is away. Apart from `test_lock.py`, because these tests kill and pause the server."""

import asyncio
import time

import pytest

from intellicolab.redis import keys
from intellicolab.redis.client import Role, async_client
from intellicolab.redis.lock import Lock, LockLost, LockUnavailable, held

from .test_lock import blocked, closed_pools, in_thread, state, wait_until

__all__ = ["closed_pools"]  # a fixture that every test here uses


def test_without_redis_an_acquire_says_so_and_a_release_does_not_hang(redis_server):
    grant = Lock("reports").acquire()
    redis_server.kill()
    start = time.monotonic()
    grant.release()  # it ends with its lease
    with pytest.raises(LockUnavailable, match="Redis gave no answer"):
        Lock("reports").acquire()
    assert time.monotonic() - start < 5


async def test_without_redis_the_async_forms_do_the_same(redis_server):
    grant = await Lock("reports").aacquire()
    redis_server.kill()
    await grant.arelease()
    with pytest.raises(LockUnavailable):
        await Lock("reports").aacquire()


def test_a_waiter_hears_that_redis_died(redis_server):
    grant = Lock("reports").acquire()
    errors = []

    def wait():
        try:
            Lock("reports").acquire()
        except LockUnavailable as error:
            errors.append(error)

    waiter = in_thread(wait)
    wait_until(blocked)
    redis_server.kill()
    waiter.join(10)
    assert len(errors) == 1
    grant.release()


def test_an_outage_longer_than_the_lease_loses_the_lock(redis_server):
    grant = Lock("reports", lease=0.4).acquire()
    redis_server.kill()
    wait_until(lambda: grant.lost)
    with pytest.raises(LockLost):
        grant.release()


def test_an_outage_shorter_than_the_lease_does_not(redis_server):
    with Lock("reports", lease=20) as grant:
        redis_server.kill()
        redis_server.start()
        grant.renew()
        grant.check()


@pytest.mark.slow
def test_a_server_that_hangs_costs_a_read_timeout_and_no_more(redis_server):
    grant = Lock("reports").acquire()
    redis_server.pause()
    try:
        start = time.monotonic()
        grant.release()
        with pytest.raises(LockUnavailable):
            Lock("reports").acquire()
        assert time.monotonic() - start < 6
    finally:
        redis_server.resume()


def was_taken():
    """The server has run the `take` whose answer nobody waited for."""
    return state().exists(keys.lock_fence("reports"))


@pytest.mark.slow
def test_a_lock_that_came_after_the_wait_for_an_answer_is_given_back(redis_server):
    state().ping()  # a connection over which the `take` lies in the socket of the server that hangs
    redis_server.pause()
    try:
        with pytest.raises(LockUnavailable):
            Lock("reports", lease=600).acquire()
    finally:
        redis_server.resume()
    wait_until(was_taken)
    wait_until(lambda: held("reports") is None)


@pytest.mark.slow
async def test_a_lock_that_came_too_late_for_a_task_is_given_back(redis_server):
    await async_client(Role.STATE).ping()
    redis_server.pause()
    try:
        with pytest.raises(LockUnavailable):
            await asyncio.create_task(Lock("reports", lease=600).aacquire())  # which ends with it
    finally:
        redis_server.resume()
    await asyncio.to_thread(wait_until, was_taken)
    await asyncio.to_thread(wait_until, lambda: held("reports") is None)
