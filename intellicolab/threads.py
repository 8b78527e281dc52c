"""The process's worker threads: a fixed few, so that each keeps its database connections from call to call.

Whole HTTP requests run here in one hop (`http.py`), and so do the database reads of sockets. The number is fixed
because Python runs one thread at a time anyway: more threads would only hold more connections and switch more often.
"""

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import cache, partial
from typing import ParamSpec, TypeVar

from asgiref.sync import SyncToAsync
from django.db import close_old_connections, connections

THREADS = 4
CLOSE_SECONDS = 3.0

P = ParamSpec("P")
R = TypeVar("R")


_here = threading.local()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="django", initializer=_mark)


def _mark() -> None:
    _here.is_worker = True


def is_worker() -> bool:
    """Whether this is one of the worker threads: who waits here for something that needs one may wait for ever."""
    return getattr(_here, "is_worker", False)


@cache
def sensitive() -> ThreadPoolExecutor:
    """The one thread for what async views call through `sync_to_async`, so that its connections last as well."""
    return ThreadPoolExecutor(1, thread_name_prefix="django-async")


def submit(func: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
    """Have a worker thread call `func` in a copy of the caller's context. Needs a running event loop.

    What `func` sets in context variables ends with the call. `async_to_sync` inside it runs on the caller's loop, and
    `sync_to_async` below that comes back to the same thread, as Django's own handler has it.
    """
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    return _pool().submit(_call, loop, context, partial(func, *args, **kwargs))


def _call(loop: asyncio.AbstractEventLoop, context: contextvars.Context, func: Callable[[], R]) -> R:
    bridge = SyncToAsync.threadlocal  # where async_to_sync looks for the loop that it was called from
    bridge.main_event_loop, bridge.main_event_loop_pid, bridge.task_context = loop, os.getpid(), None
    return context.run(func)


async def run(func: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`func`'s result from a worker thread, whose stale database connections are renewed as around a request.

    A call that waits for a thread is withdrawn when the caller is cancelled; one that has begun runs to its end.
    """
    return await asyncio.wrap_future(submit(_with_live_connections, partial(func, *args, **kwargs)))


def _with_live_connections(func: Callable[[], R]) -> R:
    close_old_connections()
    try:
        return func()
    finally:
        close_old_connections()


def close(seconds: float = CLOSE_SECONDS) -> None:
    """Close every thread's connections and end the threads, after the work begun. The next call makes new ones.

    Work that does not end within `seconds` is left behind: a stuck thread must not keep the process from stopping.
    """
    for executor, count in ((_pool, THREADS), (sensitive, 1)):
        if not executor.cache_info().currsize:
            continue  # none was needed so far
        together = threading.Barrier(count)  # no thread may take two of the closing calls
        closing = [executor().submit(_close_connections, together) for _ in range(count)]
        if wait(closing, timeout=seconds).not_done:
            together.abort()
        executor().shutdown(wait=False, cancel_futures=True)
        executor.cache_clear()


def _close_connections(together: threading.Barrier) -> None:
    with suppress(threading.BrokenBarrierError):
        together.wait()
    connections.close_all()
