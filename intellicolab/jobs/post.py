"""A worker's place at one queue: it fetches jobs, has them run, notes what became of them, and keeps its lease."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from asgiref.sync import sync_to_async
from django.db import Error as DatabaseError  # with those of its driver, such as a closed connection
from django.db import close_old_connections
from django_tasks.signals import task_finished
from redis.exceptions import RedisError

from intellicolab.redis.pauses import pause_after

from . import telling
from .backend import RedisBackend
from .deaths import tell_of_deaths
from .desk import Desk, Ending, Found, Held, LeaseLost, Taken
from .errors import JobCancelled
from .operations import keep_pause
from .running import Returned, Run
from .slots import Slots

logger = logging.getLogger("intellicolab.jobs")

LOOK = 1.0  # seconds between two looks at what nobody rings for: leases that have ended, queues that are resumed
LONGEST_PAUSE = 5.0  # seconds, while Redis is away
AT_ONCE = 100  # jobs that are taken in one script

MakeRun = Callable[[Taken], Run]


class Post:
    """Runs on one event loop until `drain`."""

    def __init__(self, backend: RedisBackend, queue: str, worker: str, slots: Slots, make_run: MakeRun) -> None:
        self._make_desk = partial(Desk, backend.alias, queue, lease=backend.lease)
        self._sender = type(backend)
        self._worker, self._lives, self._joined = worker, 0, False
        self._slots, self._make_run = slots, make_run
        self._desk = self._make_desk(worker=worker)
        # By what is in hand and not by the job: the next try of one may begin before the end of this one was answered.
        self._runs: dict[Held, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._endings: list[Ending] = []
        self._told: set[Held] = set()  # dead jobs that are a fact already, should Redis be away just then
        self._ended = asyncio.Event()
        self._failures = 0
        self._recover_at = 0.0
        self._taking = asyncio.Lock()  # while an answer is on its way that may be jobs
        self._services: list[asyncio.Task[None]] = []

    @property
    def running(self) -> int:
        return len(self._runs)

    def start(self) -> None:
        self._services = [
            asyncio.create_task(each()) for each in (self._fetch_always, self._note_always, self._renew_always)
        ]

    def cancel(self, job_id: str, why: type[BaseException]) -> None:
        for run in self._runs.values():
            if run.job.id == job_id:
                run.interrupt(why)

    async def drain(self, seconds: float) -> None:
        """Take no more; what has begun may end within that time, and is another's after it. Raises nothing."""
        fetching, noting, renewing = self._services
        async with self._taking:  # or jobs would have begun that nobody runs
            await _end(fetching)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for run in self._runs.values():
            run.interrupt(Returned)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        await _end(noting, renewing)
        for last in (self._note, self._desk.leave):
            try:
                await last()
            except (RedisError, OSError, DatabaseError, LeaseLost) as error:
                logger.warning("A worker leaves without a word, and others look after its jobs: %s", error)

    # --- Fetching --------------------------------------------------------------------------------------------------

    async def _fetch_always(self) -> None:
        while True:
            try:
                if not self._joined:
                    await self._join()
                await self._fetch()
                self._failures = 0
            except LeaseLost as lost:
                self._lose(lost)
            except (RedisError, OSError) as error:
                self._recover_at = 0.0  # it may have been given jobs in the answer that did not come
                await self._pause(error)
            except Exception:  # ours; the worker must live, or the queue stands still until a restart
                logger.exception("A worker could not fetch jobs")
                await asyncio.sleep(LOOK)

    async def _join(self) -> None:
        """Who has no place may have lost it with all that Redis knew, the pause of this queue included. Only then is
        that looked up: what Redis loses from here on, the place goes with. Jobs that need no database go on without."""
        await self._desk.join()
        try:
            await sync_to_async(_keep_pause)(self._desk.backend, self._desk.queue)
        except DatabaseError as error:
            logger.warning("Whether the queue %s is paused is taken from Redis alone: %s", self._desk.queue, error)
        self._joined = True

    async def _fetch(self) -> None:
        if time.monotonic() >= self._recover_at:
            await self._recover()
        most = await self._slots.claim(AT_ONCE)
        try:
            async with self._taking:
                found = await self._desk.take(most)
        finally:
            self._slots.release(most)
        for job in found.jobs:
            self._begin(job)
        if len(found.jobs) < most:
            await self._wait(found)

    async def _recover(self) -> None:
        async with self._taking:
            for job in await self._desk.recover(set(self._runs)):
                self._begin(job)
        self._recover_at = time.monotonic() + self._desk.lease

    async def _wait(self, found: Found) -> None:
        if found.paused:  # its bell may ring
            await asyncio.sleep(LOOK)
        else:
            await self._desk.wait(min(LOOK, LOOK if found.soonest is None else found.soonest))

    def _begin(self, job: Taken) -> None:
        self._slots.take()
        run = self._runs[job.held] = self._make_run(job)
        task = asyncio.create_task(self._run(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, run: Run) -> None:
        async with self._slots.running:
            try:
                ending = await run.run()
            except Exception as error:  # ours; while the job stayed in hand, nobody else would ever take it over
                logger.exception("A job could not be run")
                ending = run.dead(error)
        self._slots.note(run.seconds)
        if self._runs.get(run.job.held) is run:  # else the lease was lost meanwhile: the job is another's
            self._endings.append(ending)
            self._ended.set()

    async def _pause(self, error: Exception) -> None:
        if not self._failures:
            logger.error("Jobs cannot be fetched, which is tried again: %s", error)
        self._failures += 1
        await asyncio.sleep(pause_after(self._failures, first=0.1, longest=LONGEST_PAUSE))

    # --- Noting ----------------------------------------------------------------------------------------------------

    async def _note_always(self) -> None:
        """While one script is on its way others end, and go with the next one."""
        while True:
            await self._ended.wait()
            self._ended.clear()
            try:
                await self._note()
            except LeaseLost as lost:
                self._lose(lost)
            except (RedisError, OSError, DatabaseError) as error:
                await self._pause(error)
                self._ended.set()
            except Exception:
                logger.exception("The endings of jobs could not be noted")
                await asyncio.sleep(LOOK)
                self._ended.set()

    async def _note(self) -> None:
        dead = [ending for ending in self._endings if ending.what == "dead"]
        await self._note_some([ending for ending in self._endings if ending.what != "dead"])
        if dead:  # by themselves: the database may be away, and the others need none
            await tell_of_deaths([ending for ending in dead if ending.job.held not in self._told])
            self._told = {ending.job.held for ending in dead}
            await self._note_some(dead)

    async def _note_some(self, endings: list[Ending]) -> None:
        if not endings:
            return
        await self._desk.finish(endings)
        noted = set(map(id, endings))
        self._endings = [ending for ending in self._endings if id(ending) not in noted]
        for ending in endings:
            self._let_go(ending.job)
        for ending in endings:
            await _tell(self._sender, ending)

    def _let_go(self, job: Taken) -> None:
        if self._runs.pop(job.held, None) is not None:
            self._slots.release()

    # --- The lease -------------------------------------------------------------------------------------------------

    async def _renew_always(self) -> None:
        while True:
            await asyncio.sleep(self._desk.lease / 3)
            try:
                for job_id in await self._desk.renew([run.job.id for run in self._runs.values()]):
                    self.cancel(job_id, JobCancelled)
            except LeaseLost as lost:
                self._lose(lost)
            except (RedisError, OSError) as error:
                logger.warning("A worker's lease could not be renewed: %s", error)
            except Exception:
                logger.exception("A worker's lease could not be renewed")

    def _lose(self, lost: LeaseLost) -> None:
        """Others have what was in hand. It goes on under another name, of which nothing is pending."""
        if lost.worker != self._desk.worker:
            return  # another service has found out before
        logger.error(
            "The worker %s has lost its lease of %s; its jobs are run by others", self._worker, self._desk.queue
        )
        self._joined = False
        self._lives += 1
        self._desk = self._make_desk(worker=f"{self._worker}.{self._lives}")
        runs, self._runs, self._endings = self._runs, {}, []
        for run in runs.values():
            run.interrupt(Returned)
            self._slots.release()


def _keep_pause(backend: str, queue: str) -> None:
    close_old_connections()
    keep_pause(backend, queue)


async def _tell(sender: type, ending: Ending) -> None:
    """Within the handling of the error, as receivers expect that report it."""
    if ending.result is None or ending.what == "again":
        return
    if ending.error is None:
        await telling.atell(task_finished, sender, ending.result)
        return
    try:
        raise ending.error
    except BaseException:
        await telling.atell(task_finished, sender, ending.result)


async def _end(*tasks: asyncio.Task[None]) -> None:
    """Again and again: where it meets the end of a time-out within, a task may take the one for the other."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _done, pending = await asyncio.wait(pending, timeout=0.1)
