"""Handshakes take turns; those of the real servers are in test_prepared.py."""

import asyncio

from intellicolab.handshakes import AT_ONCE, Handshakes


async def test_whoever_is_connected_has_a_turn_between_the_handshakes_of_a_crowd():
    loop, handshakes, order = asyncio.get_running_loop(), Handshakes(), []
    for number in range(3 * AT_ONCE):
        handshakes.later(loop, lambda number=number: order.append(number))
    turns = 0
    while len(order) < 3 * AT_ONCE:
        await asyncio.sleep(0)
        turns += 1
        assert len(order) <= turns * AT_ONCE
    assert order == list(range(3 * AT_ONCE))


async def test_one_that_fails_is_told_and_keeps_nobody_out():
    loop, handshakes, told, done = asyncio.get_running_loop(), Handshakes(), [], asyncio.Event()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    handshakes.later(loop, lambda: 1 / 0)
    for _ in range(2 * AT_ONCE):
        handshakes.later(loop, lambda: None)
    handshakes.later(loop, done.set)
    await asyncio.wait_for(done.wait(), 5)
    assert [type(error) for error in told] == [ZeroDivisionError]


async def test_a_handshake_may_lead_to_another():
    loop, handshakes, done = asyncio.get_running_loop(), Handshakes(), asyncio.Event()
    handshakes.later(loop, lambda: handshakes.later(loop, done.set))
    await asyncio.wait_for(done.wait(), 5)
