"""The threads in which sync tasks run. Each keeps its database connections, and what runs in it can be interrupted."""

import asyncio
import contextvars
import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from django.db import close_old_connections, connections

Done = Callable[[Any, BaseException | None], None]


class Call:
    """One call in a thread."""

    def __init__(self, func: Callable[[], Any], done: Done) -> None:
        self._func, self._done = func, done
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._why: type[BaseException] | None = None

    def run(self) -> None:
        """Raises only what interrupts it after its last line; `end` belongs to that."""
        value, error = None, None
        try:
            self._begin()
            value = self._context.run(_with_live_connections, self._func)
        except BaseException as raised:  # whatever the task raises, and what interrupts it
            error = raised
        self.end(value, error)

    def end(self, value: Any, error: BaseException | None) -> None:
        """Say what it came to; the first time counts."""
        self._end()
        self._done(value, error)

    def interrupt(self, why: type[BaseException]) -> None:
        """Raise `why` in it between two lines of Python, so not before what waits in C has ended."""
        with self._lock:
            self._why = why
            if self._thread is not None:
                _raise_in(self._thread, why)

    def _begin(self) -> None:
        with self._lock:
            if self._why is not None:
                raise self._why
            self._thread = threading.get_ident()

    def _end(self) -> None:
        """From here on nothing interrupts, nor does what was on its way: it would hit the next call."""
        while self._thread is not None:
            with suppress(BaseException), self._lock:
                thread, self._thread = self._thread, None
                _raise_in(thread, None)


class Threads:
    """A fixed number of daemon threads: one that is stuck keeps no process from ending."""

    def __init__(self, count: int) -> None:
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=f"job-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, func: Callable[[], Any]) -> tuple[Call, "asyncio.Future[Any]"]:
        """Have it called; the future is the running loop's. Whatever it raises is the future's."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def done(value: Any, error: BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(_settle, future, value, error)

        call = Call(func, done)
        self._calls.put(call)
        return call, future

    def close(self, seconds: float) -> None:
        """End the threads, and their connections, when they are done; those that take longer are left behind."""
        for _thread in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join(seconds / len(self._threads))

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call.run()
            except BaseException as late:  # the thread must live, and somebody waits for the call
                call.end(None, late)
        connections.close_all()


def _with_live_connections(func: Callable[[], Any]) -> Any:
    close_old_connections()
    try:
        return func()
    finally:
        close_old_connections()


def _settle(future: "asyncio.Future[Any]", value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    future.set_result((value, error))  # as a result: a future takes no StopIteration


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """CPython's PyThreadState_SetAsyncExc; None takes back what has not been raised yet."""
    raised = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
