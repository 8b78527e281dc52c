"""What was committed in a thread is answered in the loop: all of it, in order, with one wake-up for many."""

import asyncio
import threading
from concurrent.futures import Future

from realtime.answers import Answers


def in_a_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


async def expect(count, answer):
    futures = [Future() for _ in range(count)]
    for future in futures:
        Answers.here().expect(future, answer)
    return futures


async def test_answers_come_in_the_loop_in_the_order_of_the_results():
    heard = []
    futures = await expect(500, lambda future: heard.append((future.result(), threading.get_ident())))
    in_a_thread(lambda: [future.set_result(number) for number, future in enumerate(futures)])
    assert heard == []
    await asyncio.sleep(0)
    assert heard == [(number, threading.get_ident()) for number in range(500)]


async def test_a_batch_wakes_the_loop_once(monkeypatch):
    wakes = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_soon_threadsafe", wakes.append)
    futures = await expect(100, lambda future: None)
    in_a_thread(lambda: [future.set_result(None) for future in futures])
    assert len(wakes) == 1
    wakes[0]()
    (late,) = await expect(1, lambda future: None)
    in_a_thread(lambda: late.set_result(None))
    assert len(wakes) == 2


async def test_an_answer_that_fails_does_not_take_the_next_one_along(caplog):
    heard = []
    futures = await expect(3, lambda future: heard.append(future.result()))
    futures[0].set_result(1)
    futures[1].set_exception(OSError())
    futures[2].set_result(3)
    await asyncio.sleep(0)
    assert heard == [1, 3]
    assert "could not be answered" in caplog.text


def test_a_result_after_the_end_of_the_loop_is_nobodys(caplog):
    heard = []
    (future,) = asyncio.run(expect(1, heard.append))
    future.set_result(None)
    assert heard == []
    assert not caplog.records
