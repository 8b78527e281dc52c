"""The Django Tasks backend: jobs on Redis Streams, with the outbox for what is enqueued in a transaction.

    TASKS = {"default": {"BACKEND": "intellicolab.jobs.backend.RedisBackend", "QUEUES": ["default"]}}

OPTIONS: LIMITER, the path of `async def wait(name: str) -> float`, which says for how many seconds a job of that rate
must wait; LEASE, in seconds.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from secrets import token_hex
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.db import connection
from django.utils import timezone
from django_tasks.backends.base import BaseTaskBackend
from django_tasks.base import Task
from django_tasks.exceptions import InvalidTaskError, TaskResultDoesNotExist
from django_tasks.signals import task_enqueued
from redis.exceptions import RedisError

from intellicolab.events.signals import asignal, signal

from . import carrier, telling
from .errors import JobCancelled
from .events import CancelJob
from .payload import Payload, Place, decode, normal, not_too_long, to_us
from .results import JobResult, fresh_result, result_of, task_of, with_error
from .store import NewJob, Store, portions
from .task import Job, refuse_bad_options

logger = logging.getLogger("intellicolab.jobs")

CANCELLABLE = ("held", "ready", "running", "cancelled")
LEASE = 15.0  # seconds after which the jobs of a killed worker are another's


class Call(NamedTuple):
    """A task with arguments, to be enqueued."""

    task: Task
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}


Made = tuple[NewJob, JobResult]


class RedisBackend(BaseTaskBackend):
    """Jobs run at least once: again after a worker was killed in the middle. What has begun to be stored is kept."""

    task_class = Job
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.store = Store(alias)
        self.lease = float(self.options.get("LEASE", LEASE))

    @cached_property
    def limiter(self) -> str:
        return str(self.options.get("LIMITER", ""))

    def validate_task(self, task: Task) -> None:
        """Raises InvalidTaskError."""
        super().validate_task(task)
        if isinstance(task, Job):
            refuse_bad_options(task)

    # --- Enqueueing ------------------------------------------------------------------------------------------------

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> JobResult:
        """One job. In a transaction it is a row beside what the transaction changes, and so is it while Redis is away.

        Raises InvalidTaskError, TypeError or ValueError for arguments that JSON cannot hold or that are too long,
        QueueFull.
        """
        return self.enqueue_many([Call(task, args, kwargs)])[0]

    def enqueue_many(self, calls: Sequence[Call]) -> list[JobResult]:
        """Many jobs, some hundred in one round trip; raises as `enqueue`, and then those before it may be stored."""
        made = self._made_of(calls)
        if connection.in_atomic_block:
            carrier.emit(self.alias, [job for job, _result in made])
        else:
            for batch in _batches(made):
                self._add(batch)
        return self._told(made)

    async def aenqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> JobResult:
        """As `enqueue`, on the running event loop."""
        return (await self.aenqueue_many([Call(task, args, kwargs)]))[0]

    async def aenqueue_many(self, calls: Sequence[Call]) -> list[JobResult]:
        if connection.in_atomic_block:  # of the thread that waits for this loop
            return await sync_to_async(self.enqueue_many)(calls)
        made = self._made_of(calls)
        for batch in _batches(made):
            await self._aadd(batch)
        if telling.is_heard(task_enqueued, logging.DEBUG):
            for _job, result in made:
                await telling.atell(task_enqueued, type(self), result)
        return [result for _job, result in made]

    def enqueue_batch(self, calls: Sequence[Call], then: Call) -> tuple[JobResult, list[JobResult]]:
        """Jobs, and one that begins when all of them have ended: all of them rows of the outbox, in one transaction.

        Raises as `enqueue`, and InvalidTaskError for a unique job, which may end in another's place, and for a last one
        that has a time of its own; then nothing is stored.
        """
        if then.task.run_after is not None:
            raise InvalidTaskError("The last job of a batch begins when the others end, so it can't have a time.")
        [last] = self._made_of([then], left=len(calls) or -1)
        place = Place(last[0].id, then.task.queue_name, then.task.priority)
        made = [last, *self._made_of(calls, place)]
        if any(job.payload.unique for job, _result in made):
            raise InvalidTaskError("A unique job can't be part of a batch: another one may run in its place.")
        carrier.emit(self.alias, [job for job, _result in made])
        first, *others = self._told(made)
        return first, others

    def _made_of(self, calls: Sequence[Call], batch: Place | None = None, left: int = -1) -> list[Made]:
        for task in {id(call.task): call.task for call in calls}.values():  # mostly one and the same
            self.validate_task(task)
        return [self._made(call, batch, left) for call in calls]

    def _made(self, call: Call, batch: Place | None, left: int) -> Made:
        task = call.task
        args, kwargs = normal(call.args), normal(call.kwargs)
        payload = Payload(
            path=task.module_path,
            queue=task.queue_name,
            priority=task.priority,
            args=args,
            kwargs=kwargs,
            enqueued=to_us(timezone.now()),
            run_after=None if task.run_after is None else to_us(task.run_after),
            unique=task.digest(args, kwargs) if isinstance(task, Job) else "",
            batch=batch,
            left=left,
        )
        job = NewJob(token_hex(16), payload)
        not_too_long(job.data, f"A job of {task.module_path}")
        return job, fresh_result(self.alias, job.id, task, payload)

    def _told(self, made: Sequence[Made]) -> list[JobResult]:
        if telling.is_heard(task_enqueued, logging.DEBUG):
            for _job, result in made:
                telling.tell(task_enqueued, type(self), result)
        return [result for _job, result in made]

    def _add(self, made: Sequence[Made]) -> None:
        try:
            stored = self.store.add([job for job, _result in made])
        except (RedisError, OSError) as error:
            self._keep(made, error)
        else:
            _take_ids(made, stored.ids)

    async def _aadd(self, made: Sequence[Made]) -> None:
        try:
            stored = await self.store.aadd([job for job, _result in made])
        except (RedisError, OSError) as error:
            await sync_to_async(self._keep)(made, error)
        else:
            _take_ids(made, stored.ids)

    def _keep(self, made: Sequence[Made], error: Exception) -> None:
        """Redis may have taken them or not; by its id it takes each once."""
        logger.warning("Redis takes no jobs, so they wait in the outbox: %s", error)
        carrier.emit(self.alias, [job for job, _result in made])

    # --- Results ---------------------------------------------------------------------------------------------------

    def get_result(self, result_id: str) -> JobResult:
        """Raises TaskResultDoesNotExist, also for one that was kept for its time; SuspiciousOperation where the path of
        the task leads to something else; ImportError where it leads nowhere; RedisError."""
        found, record = self.store.record(result_id)
        if not record and (job := carrier.waiting(self.alias, result_id)) is not None:
            # It has committed and Redis does not know it yet: who is sent to look at it must find it.
            return fresh_result(self.alias, result_id, task_of(job.payload), job.payload)
        if not record:
            found, record = self.store.record(result_id)  # it may have been carried between the two looks
        if not record:
            raise TaskResultDoesNotExist(result_id)
        return self._result(found, record)

    async def aget_result(self, result_id: str) -> JobResult:
        found, record = await self.store.arecord(result_id)
        return self._result(found, record) if record else await sync_to_async(self.get_result)(result_id)

    def _result(self, job_id: str, record: Mapping[bytes, bytes]) -> JobResult:
        return result_of(self.alias, job_id, decode(record[b"d"]), record)

    # --- Cancelling ------------------------------------------------------------------------------------------------

    def cancel(self, result_id: str) -> bool:
        """Have a job end: one that waits does not run, one that runs is interrupted. Whether it had not ended.

        An async task gets an `asyncio.CancelledError`, a sync one JobCancelled between two lines of Python. Raises
        RedisError.
        """
        found, record = self.store.record(result_id)
        asked = not record and self._ask_in_outbox(result_id)
        if not record:
            found, record = self.store.record(result_id)  # it may have been carried between the two looks
        if not record:
            return asked
        state = self.store.cancel(found, record, _cancelled(record))
        if state == "running":
            signal(CancelJob(job_id=found))
        return state in CANCELLABLE

    def _ask_in_outbox(self, result_id: str) -> bool:
        """Have a job end when it is carried. Whether it waits for that."""
        if carrier.waiting(self.alias, result_id) is None:
            return False
        self.store.ask_to_cancel(result_id)
        return True

    async def acancel(self, result_id: str) -> bool:
        found, record = await self.store.arecord(result_id)
        if not record:
            return await sync_to_async(self.cancel)(result_id)
        state = await self.store.acancel(found, record, _cancelled(record))
        if state == "running":
            await asignal(CancelJob(job_id=found))
        return state in CANCELLABLE


def _batches(made: Sequence[Made]) -> Iterator[Sequence[Made]]:
    return portions(made, lambda one: len(one[0].data))


def _take_ids(made: Sequence[Made], ids: Sequence[str]) -> None:
    """Where another job is unique in its place, the result is that one's."""
    for (job, result), found in zip(made, ids, strict=True):
        if found != job.id:
            object.__setattr__(result, "id", found)


def _cancelled(record: Mapping[bytes, bytes]) -> bytes:
    return with_error(record.get(b"e"), JobCancelled())
