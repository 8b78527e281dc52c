"""One job is run: a coroutine on the loop, a function in a thread."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from inspect import iscoroutinefunction
from typing import Any

import msgspec
from django.core.exceptions import SuspiciousOperation
from django_tasks.base import Task, TaskError
from django_tasks.exceptions import InvalidTaskError
from django_tasks.signals import task_finished, task_started
from django_tasks.utils import get_module_path

from . import telling
from .context import JobContext
from .desk import Ending, Taken
from .errors import JobCancelled, NonRetryable, Retry, TimeLimitExceeded, WorkerKilled
from .payload import Payload, normal, not_too_long
from .results import JobResult, begun, errors_in, finished, fresh_result, task_of, with_error
from .task import DAY, Job
from .threads import Call, Threads

logger = logging.getLogger("intellicolab.jobs")

FAILED_MS = 30 * 24 * 60 * 60 * 1000  # for which the record of a failed job is kept
MOST_KILLS = 3  # tries in which the worker was killed, before the job is taken to be why
UNKNOWN_RETRIES, UNKNOWN_DELAY = 6, 10.0  # seconds: a worker of older code meets a task of newer code

LONGEST_WAIT = 60.0  # seconds between two questions of a job to the limiter, where that names no longer time

Limiter = Callable[[str], Awaitable[float]]


class Returned(BaseException):
    """The worker ends, or its lease has: the job is another's. No task catches it by mistake."""


@dataclass(slots=True)
class Outcome:
    """What the function came to; `data` is the value as JSON."""

    value: Any = None
    data: bytes = b""
    error: BaseException | None = None


class Run:
    """A job in hand, from its taking to its ending."""

    def __init__(self, job: Taken, sender: type, threads: Threads, limiter: Limiter | None, backend: str) -> None:
        self.job = job
        self._sender, self._threads, self._limiter, self._backend = sender, threads, limiter, backend
        self._call: Call | None = None
        self._work: asyncio.Task[Any] | None = None
        self._why: type[BaseException] | None = None
        self._result: JobResult | None = None
        self.seconds = 0.0  # that the function took

    def interrupt(self, why: type[BaseException]) -> None:
        """End it as soon as can be, whatever it does."""
        self._why = self._why or why
        if self._call is not None:
            self._call.interrupt(why)
        elif self._work is not None:
            self._work.cancel()

    async def run(self) -> Ending:
        """Whatever the task does, it is the job's ending. What is raised is a fault of ours."""
        job, payload = self.job, self.job.payload
        if job.fault is not None:
            return self.dead(job.fault)
        if payload is None:
            return Ending(job, "drop")
        if job.state == "cancelled":
            return Ending(job, "cancelled", _cancelled(job.errors), FAILED_MS)
        if self._why is not None:
            return self._back(0)
        try:
            task = task_of(payload)
        except (ImportError, SuspiciousOperation, InvalidTaskError) as error:
            return self._unknown(error)
        return await self._run_task(task, payload)

    async def _run_task(self, task: Task, payload: Payload) -> Ending:
        if self._kills() > MOST_KILLS:
            return self.dead(WorkerKilled(f"{self._kills()} workers were killed while they ran it."))
        if seconds := await self._must_wait(task):
            return self._back(_spread_ms(seconds, self.job.put_off))
        if self._is_asked_for(task):
            self._result = self._begun(task, payload)
            await telling.atell(task_started, self._sender, self._result)
        began = time.monotonic()
        outcome = await self._outcome(task, payload)
        self.seconds = time.monotonic() - began
        return self._ending(task, payload, outcome)

    def _is_asked_for(self, task: Task) -> bool:
        """Whether anybody wants to see the result object. To make it costs as much as to run a small job."""
        return task.takes_context or any(telling.is_heard(each, logging.INFO) for each in (task_started, task_finished))

    async def _must_wait(self, task: Task) -> float:
        """Seconds that the task's rate demands. A limiter that fails lets jobs through."""
        if self._limiter is None or not isinstance(task, Job) or not task.rate:
            return 0.0
        try:
            return await self._limiter(task.rate)
        except Exception:  # another package's
            logger.exception("The limiter of jobs failed")
            return 0.0

    def _kills(self) -> int:
        return len(self.job.workers) - len(errors_in(self.job.errors)) - 1

    def _begun(self, task: Task, payload: Payload) -> JobResult:
        result = fresh_result(self._backend, self.job.id, task, payload)
        result.errors.extend(
            TaskError(exception_class_path=e.path, traceback=e.traceback) for e in errors_in(self.job.errors)
        )
        begun(result, self.job.begun, self.job.workers)
        return result

    # --- The function ----------------------------------------------------------------------------------------------

    async def _outcome(self, task: Task, payload: Payload) -> Outcome:
        context = [JobContext(task_result=self._result)] if task.takes_context and self._result else []
        func = partial(task.func, *context, *payload.args, **payload.kwargs)
        limit = task.time_limit if isinstance(task, Job) else None
        try:
            value = await (
                self._on_loop(func, limit) if iscoroutinefunction(task.func) else self._in_thread(func, limit)
            )
            stored = normal(value)
            data = msgspec.json.encode(stored)  # here, since JSON does not hold every number and text
            return Outcome(stored, not_too_long(data, "The result"))
        except BaseException as error:  # SystemExit too is the job's and not the worker's
            return Outcome(error=self._reason(error))

    def _reason(self, error: BaseException) -> BaseException:
        """Who was interrupted may have turned it into something else."""
        return error if self._why is None else self._why()

    async def _on_loop(self, func: Callable[[], Awaitable[Any]], limit: float | None) -> Any:
        if self._why is not None:
            raise self._why
        self._work = asyncio.current_task()
        timeout = asyncio.timeout(limit)
        try:
            async with timeout:
                return await func()
        except TimeoutError:
            if timeout.expired():
                raise TimeLimitExceeded from None
            raise
        finally:
            self._work = None

    async def _in_thread(self, func: Callable[[], Any], limit: float | None) -> Any:
        if self._why is not None:
            raise self._why
        self._call, future = self._threads.submit(func)
        timer = None
        if limit is not None:
            timer = asyncio.get_running_loop().call_later(limit, self._call.interrupt, TimeLimitExceeded)
        try:
            value, error = await future
        finally:
            if timer is not None:
                timer.cancel()
        if error is not None:
            raise error
        return value

    # --- The ending ------------------------------------------------------------------------------------------------

    def _ending(self, task: Task, payload: Payload, outcome: Outcome) -> Ending:
        error = outcome.error
        if error is None:
            return self._done(task, outcome)
        if isinstance(error, Returned):
            return self._back(0)
        errors = with_error(self.job.errors, error)
        if not isinstance(error, JobCancelled) and (delay := _delay(task, error, len(errors_in(errors)))) is not None:
            logger.warning("%s failed and is tried again in %.1f s: %r", task.module_path, delay, error)
            return Ending(self.job, "again", errors, round(delay * 1000))
        result = finished(self._result or self._begun(task, payload), error=error)
        what = "cancelled" if isinstance(error, JobCancelled) else "dead"
        return Ending(self.job, what, errors, FAILED_MS, result, error)

    def _done(self, task: Task, outcome: Outcome) -> Ending:
        keep = task.keep if isinstance(task, Job) else DAY
        result = finished(self._result, value=outcome.value) if self._result else None
        return Ending(self.job, "done", outcome.data if keep else b"", round(keep * 1000), result)

    def _unknown(self, error: Exception) -> Ending:
        errors = with_error(self.job.errors, error)
        if len(errors_in(errors)) > UNKNOWN_RETRIES:
            return Ending(self.job, "dead", errors, FAILED_MS, None, error)
        return Ending(self.job, "again", errors, round(UNKNOWN_DELAY * 1000))

    def dead(self, error: Exception) -> Ending:
        """It is given up."""
        return Ending(self.job, "dead", with_error(self.job.errors, error), FAILED_MS, None, error)

    def _back(self, ms: int) -> Ending:
        """It waits again, as if this try had not been."""
        return Ending(self.job, "later", ",".join(self.job.workers[:-1]).encode(), ms)


def _cancelled(errors: bytes | None) -> bytes:
    """With the cancelling as the last one. It is there already, unless the job ran just then or was in the outbox."""
    known = errors_in(errors)
    if errors and known[-1].path == get_module_path(JobCancelled):
        return errors
    return with_error(errors, JobCancelled())


def _delay(task: Task, error: BaseException, failures: int) -> float | None:
    """Seconds before the next try; None if there is none left."""
    if not isinstance(task, Job) or failures > task.retries or isinstance(error, NonRetryable):
        return None
    if isinstance(error, Retry) and error.seconds is not None:
        return error.seconds
    return task.delay(failures)


def _spread_ms(seconds: float, put_off: int) -> int:
    """Who has waited often waits longer, or thousands of jobs would all ask the limiter at once, each time it opens."""
    longest = max(seconds, min(seconds * (1 + put_off), LONGEST_WAIT))
    return max(1, round(1000 * random.uniform(seconds, longest)))  # noqa: S311  a spread, not a secret
