"""The crowds of bench/chat.py: a child that `bench.harness.crew` leads; its sockets stay open between jobs.

A job is {"do": one of DO, …}; what else it holds is said there, and in `bench.clients.sockets`.
"""

import asyncio
import sys
from collections.abc import Callable

import uvloop

from bench.clients import chat_history, chat_idle, chat_load, chat_waits
from bench.harness import crew

DO = {
    "deliveries": chat_load.deliveries,
    "commits": chat_waits.commits,
    "last": chat_waits.last,
    "steady": chat_waits.steady,
    "grow": chat_idle.grow,
    "reconnect": chat_idle.reconnect,
    "open rooms": chat_history.open_rooms,
}

if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        def do(job: dict, go: Callable[[], None]) -> dict:
            return runner.run(DO[job["do"]](job, go))

        crew.serve(do, sys.stdin, sys.stdout)
