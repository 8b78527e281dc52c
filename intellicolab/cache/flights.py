"""The flights that this process knows: the loads that it does itself, and those of others that it waits for.

A flight is known by its token, never by its key: Redis says whose token is valid, so nobody joins a load that an
invalidation has overtaken.
"""

import os
from concurrent.futures import Future
from typing import Any

# What a flight's future holds when the waiter has to look again.
AGAIN = object()


class Flights:
    """Safe from any thread: each step is one operation on a dict."""

    def __init__(self) -> None:
        self.start_afresh()
        os.register_at_fork(after_in_child=self.start_afresh)  # nobody in the child lands what the parent flies

    def start_afresh(self) -> None:
        self._loading: dict[str, Future[Any]] = {}
        self._listening: dict[str, Future[Any]] = {}

    def begin(self, token: str) -> None:
        """Before the claim is sent: whoever is told of this token finds its future."""
        self._loading[token] = Future()

    def of(self, token: str) -> "Future[Any] | None":
        """The future of a load in this process."""
        return self._loading.get(token)

    def take_off(self, token: str) -> None:
        """Its load begins; until then it may wait for a thread, which who waits for it may be holding up."""
        future = self._loading.get(token)
        if future is not None:
            future.set_running_or_notify_cancel()

    def land(self, token: str, value: Any = AGAIN) -> None:
        """Hand the value to who waits here; by default, that they must look again."""
        future = self._loading.pop(token, None)
        if future is not None:
            future.set_result(value)

    def crash(self, token: str, error: BaseException) -> None:
        """Who waited for this load gets its error, instead of each trying the same again."""
        future = self._loading.pop(token, None)
        if future is not None:
            future.set_exception(error)

    def listen(self, token: str) -> "tuple[Future[Any], bool]":
        """The future of another process's flight, and whether the caller is the one to listen for its end."""
        mine: Future[Any] = Future()
        mine.set_running_or_notify_cancel()  # its flight is another process's, and needs nothing of this one
        future = self._listening.setdefault(token, mine)
        return future, future is mine

    def heard(self, token: str) -> None:
        """The flight is over: who is told of it from here on does not join those who waited."""
        self._listening.pop(token, None)


flights = Flights()
