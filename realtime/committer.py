"""The group committer: one thread a process that commits whatever arrived while its last transaction ran.

Under load one transaction, with its one fsync, carries many messages; alone, a message waits for nobody. The thread is
its own, because a commit on a shared executor would wait behind page requests.
"""

import atexit
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from django.db import DataError, IntegrityError, close_old_connections, connections
from django.db import Error as DatabaseFault

from .errors import ChatError
from .services import NewMessage, Outcome, Posted, post_messages

logger = logging.getLogger("realtime")

MAX_BATCH = 500  # messages a transaction: longer ones would make the first of them wait
MAX_WAITING = 10_000  # messages; at 1,000 a second nobody waits longer than the 10 s after which a sender gives up
STOP_SECONDS = 10.0

Waiting = tuple[NewMessage, "Future[Posted]"]


class Committer:
    """Takes messages from any thread or loop; `submit` raises nothing, its future carries Posted or ChatError."""

    def __init__(self, post: Callable[[Sequence[NewMessage]], list[Outcome]] = post_messages) -> None:
        self._post = post
        self._waiting: deque[Waiting] = deque()
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def submit(self, message: NewMessage) -> "Future[Posted]":
        """A future of where the message stands, done after the commit. ChatError busy when too many wait."""
        future: Future[Posted] = Future()
        future.set_running_or_notify_cancel()  # from here on it can't be cancelled: what is taken is committed
        with self._news:
            if self._stopping or len(self._waiting) >= MAX_WAITING:
                future.set_exception(ChatError("busy"))
                return future
            if self._thread is None or not self._thread.is_alive():
                self._start()
            self._waiting.append((message, future))
            self._news.notify()
        return future

    def drain(self) -> None:
        """Commit what waits, refuse what comes, and end the thread; a later `submit` after `reopen` starts anew."""
        with self._news:
            self._stopping = True
            self._news.notify()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(STOP_SECONDS)

    def reopen(self) -> None:
        self._stopping = False

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()
        atexit.register(self.drain)

    def _run(self) -> None:
        try:
            while batch := self._next_batch():
                try:
                    self._commit(batch)
                except Exception:  # the senders must hear of it, and the thread must live for the next batch
                    self._fail(batch)
        finally:
            connections.close_all()

    def _next_batch(self) -> list[Waiting]:
        """What waits, at most MAX_BATCH; empty only when the committer is drained."""
        with self._news:
            while not self._waiting and not self._stopping:
                self._news.wait()
            return [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]

    def _commit(self, batch: list[Waiting]) -> None:
        close_old_connections()
        for (_message, future), outcome in zip(batch, self._outcomes([m for m, _ in batch]), strict=True):
            if isinstance(outcome, ChatError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def _outcomes(self, messages: list[NewMessage]) -> list[Outcome]:
        try:
            return self._post(messages)
        except (IntegrityError, DataError):
            if len(messages) == 1:
                return self._once_more(messages)
            # Another process stored one of them between our look and our insert, or the database takes one of them
            # for wrong: find out which.
            return [outcome for message in messages for outcome in self._outcomes([message])]
        except DatabaseFault:
            return list(self._failed(messages))

    def _once_more(self, messages: list[NewMessage]) -> list[Outcome]:
        """The other process has committed by now, so a second look finds the resend's first result."""
        try:
            return self._post(messages)
        except DatabaseFault:
            return list(self._failed(messages))

    @staticmethod
    def _failed(messages: list[NewMessage]) -> list[ChatError]:
        logger.exception("A batch of %d messages could not be stored", len(messages))
        return [ChatError("unavailable") for _ in messages]

    def _fail(self, batch: list[Waiting]) -> None:
        for (_message, future), error in zip(batch, self._failed([m for m, _ in batch]), strict=True):
            if not future.done():
                future.set_exception(error)


committer = Committer()
