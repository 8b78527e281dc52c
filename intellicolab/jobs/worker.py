"""The part of `manage.py worker` that runs jobs: an event loop in a thread, with a post at each queue."""

import asyncio
import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import uvloop
from asgiref.sync import sync_to_async
from django.db import connections
from django.utils.module_loading import import_string
from django_tasks import task_backends

from intellicolab.events.signals import listen
from intellicolab.redis.client import aclose

from .backend import RedisBackend
from .desk import Taken
from .errors import JobCancelled
from .events import CancelJob
from .post import Post
from .running import Limiter, Run
from .slots import Slots
from .threads import Threads

logger = logging.getLogger("intellicolab.jobs")

CONCURRENCY = 16  # jobs at a time; each sync one has a thread, and so a database connection
DRAIN_SECONDS = 8.0  # for jobs that run; `serve` grants 15 for all
JOIN_SECONDS = 13.0


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of a backend."""

    backend: RedisBackend
    name: str


def queues(names: Iterable[str] = ()) -> list[Queue]:
    """All queues of our backends, or those of these names. Raises LookupError for one that there is not."""
    backends = [backend for backend in task_backends.all() if isinstance(backend, RedisBackend)]
    found = [Queue(backend, name) for backend in backends for name in sorted(backend.queues)]
    wanted, known = set(names), {queue.name for queue in found}
    if wanted - known:
        raise LookupError(
            f"There is no queue {', '.join(sorted(wanted - known))}; there are {', '.join(sorted(known))}."
        )
    return [queue for queue in found if not wanted or queue.name in wanted]


class JobWorker:
    """A service of a process."""

    def __init__(self, chosen: Sequence[Queue] | None = None, concurrency: int = CONCURRENCY) -> None:
        self.queues = queues() if chosen is None else chosen
        self._concurrency = concurrency
        self.name = f"{socket.gethostname()[:32].replace(',', '-')}-{os.getpid()}-{secrets.token_hex(4)}"
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()
        self._posts: list[Post] = []

    def start(self) -> None:
        if not self.queues:
            return
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()
        self._ready.wait(5.0)

    def stop(self) -> None:
        """What runs may end within some seconds; what is left is other workers', at once."""
        if self._thread is None:
            return
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(JOIN_SECONDS)

    def cancel(self, job_id: str) -> None:
        """End a job, if it runs here; from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel, job_id)

    @property
    def running(self) -> int:
        """How many jobs it has in hand."""
        return sum(post.running for post in self._posts)

    def _cancel(self, job_id: str) -> None:
        for post in self._posts:
            post.cancel(job_id, JobCancelled)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        threads, slots = Threads(self._concurrency), Slots(self._concurrency)
        self._posts = [self._post(queue, threads, slots) for queue in self.queues]
        for post in self._posts:
            post.start()
        _running.add(self)
        self._ready.set()
        try:
            await self._stopping.wait()
            await asyncio.gather(*(post.drain(DRAIN_SECONDS) for post in self._posts))
        finally:
            _running.discard(self)
            await asyncio.to_thread(threads.close, 1.0)
            await sync_to_async(connections.close_all)()  # of the thread that has told of deaths
            await aclose()

    def _post(self, queue: Queue, threads: Threads, slots: Slots) -> Post:
        backend = queue.backend
        limiter: Limiter | None = import_string(backend.limiter) if backend.limiter else None

        def make_run(job: Taken) -> Run:
            return Run(job, type(backend), threads, limiter, backend.alias)

        return Post(backend, queue.name, self.name, slots, make_run)


_running: set[JobWorker] = set()


@listen(CancelJob.name)
def cancel_here(event: CancelJob) -> None:
    for worker in tuple(_running):
        worker.cancel(event.job_id)
