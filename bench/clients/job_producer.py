"""A process that enqueues with the queue of JOBS_MODULE, as bench/jobs.py tells it."""

import asyncio
import importlib
import os
import random
import sys
import time
from collections.abc import Callable

from bench.harness.crew import serve
from bench.queues.producer import Producer

SEED = 20_260


async def single(queue: Producer, job: dict) -> dict:
    """Enqueue so many, one call after the other."""
    began = time.monotonic()
    for number in range(job["count"]):
        await queue.enqueue(number)
    return {"seconds": time.monotonic() - began, "bulk": False}


async def many(queue: Producer, job: dict) -> dict:
    """Enqueue so many, in bulk where the queue has that."""
    if not queue.bulk:
        return await single(queue, job)
    began = time.monotonic()
    await queue.enqueue_many(range(job["count"]))
    return {"seconds": time.monotonic() - began, "bulk": True}


async def now_and_then(queue: Producer, job: dict) -> dict:
    """Enqueue so many at irregular intervals between `least` and `most` seconds; when each call began."""
    draw, began = random.Random(SEED), []
    for number in range(job["count"]):
        await asyncio.sleep(draw.uniform(job["least"], job["most"]))
        began.append(time.monotonic())
        await queue.enqueue(number)
    return {"began": began}


async def held(queue: Producer, job: dict) -> dict:
    """Enqueue one job that lasts so many seconds."""
    await queue.enqueue(0, job["seconds"])
    return {}


async def nothing(queue: Producer, job: dict) -> dict:
    """Its answer says that the queue is open."""
    return {}


async def results(queue: Producer, job: dict) -> dict:
    return {"results": await queue.results()}


DOES = {
    "single": single,
    "many": many,
    "now and then": now_and_then,
    "held": held,
    "results": results,
    "nothing": nothing,
}


def main(module: str) -> None:
    queue: Producer = importlib.import_module(module).Queue()
    # Whatever the queue prints must not end up among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with asyncio.Runner() as runner:
        runner.run(queue.open())

        def do(job: dict, go: Callable[[], None]) -> dict:
            go()
            return runner.run(DOES[job["do"]](queue, job))

        serve(do, sys.stdin, answers)
        os._exit(0)  # not every client can be left when its loop ends


if __name__ == "__main__":
    main(os.environ["JOBS_MODULE"])
