"""Batches: jobs of which the last begins when all the others have ended."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from django_tasks import task, task_backends
from django_tasks.base import Task

from .backend import Call, RedisBackend
from .results import JobResult


@task
def nothing() -> None:
    """The last job of a batch after which nothing is to be done: its result tells how far the batch is."""


class Batch:
    """Collects jobs, and enqueues all of them where its block ends, or none.

        with Batch(then=Call(send_report, [room.pk])) as batch:
            for chunk in chunks:
                batch.add(export_chunk, chunk)
        batch.last.batch  # how many jobs, how many of them are left, how many have failed

    They are stored together, with what the caller's transaction changes: no crash leaves half a batch. The last job
    runs, too, when others have failed or were cancelled; its context has the same numbers.
    """

    last: JobResult
    results: Sequence[JobResult]

    def __init__(self, then: Call | None = None) -> None:
        self._then = then or Call(nothing)
        self._calls: list[Call] = []

    def add(self, task: Task, *args: Any, **kwargs: Any) -> None:
        """One more; it is stored with the others. Not of a unique task."""
        self._calls.append(Call(task, args, kwargs))

    def __enter__(self) -> "Batch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raises as `enqueue` does; nothing is stored if the block has raised."""
        if kind is None:
            backend = task_backends[self._then.task.backend]
            assert isinstance(backend, RedisBackend), "Batches are for tasks of our backend."
            self.last, self.results = backend.enqueue_batch(self._calls, self._then)
