"""The records of jobs in Redis, as Django's task results."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from django.core.exceptions import SuspiciousOperation
from django.utils import timezone
from django.utils.module_loading import import_string
from django_tasks.base import Task, TaskError, TaskResult, TaskResultStatus
from django_tasks.utils import get_exception_traceback, get_module_path

from intellicolab.redis.codec import storable

from .payload import Payload, from_us, normal

T = TypeVar("T")

MOST_ERRORS = 10  # whose tracebacks are kept, the newest of a job that is tried often
MOST_TRACEBACK = 10_000  # characters, the last ones

STATES = {
    "held": TaskResultStatus.READY,
    "ready": TaskResultStatus.READY,
    "running": TaskResultStatus.RUNNING,
    "done": TaskResultStatus.SUCCESSFUL,
    "failed": TaskResultStatus.FAILED,
    "cancelled": TaskResultStatus.FAILED,
}


class Progress(msgspec.Struct, array_like=True, frozen=True):
    """How far a job is: `done` of `total`, and what it does now in words."""

    done: float
    total: float
    note: str = ""

    @property
    def percent(self) -> float:
        return 100.0 * min(1.0, self.done / self.total) if self.total > 0 else 0.0


class Counts(NamedTuple):
    """Of the jobs before the last one of a batch: how many, how many of them have not ended, how many have failed."""

    jobs: int
    left: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult(TaskResult[T], Generic[T]):
    """A task result that also knows how far the job is, and how far its batch if it is the last one of it."""

    progress: Progress | None = field(default=None, compare=False)
    batch: Counts | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """As Django's, in a fraction of its time."""
        object.__setattr__(self, "args", normal(self.args))
        object.__setattr__(self, "kwargs", normal(self.kwargs))

    def refresh(self) -> None:
        TaskResult.refresh(self)  # `super()` does not know the class that `slots` has made
        self._take_over(self.task.get_backend().get_result(self.id))

    async def arefresh(self) -> None:
        await TaskResult.arefresh(self)
        self._take_over(await self.task.get_backend().aget_result(self.id))

    def cancel(self) -> bool:
        """Have the job end, now or before it begins. Whether it had not ended."""
        return self.task.get_backend().cancel(self.id)

    async def acancel(self) -> bool:
        return await self.task.get_backend().acancel(self.id)

    def _take_over(self, fresh: TaskResult) -> None:
        for name in ("progress", "batch"):
            object.__setattr__(self, name, getattr(fresh, name, None))


class StoredError(msgspec.Struct, array_like=True, frozen=True):
    """One try that failed."""

    path: str
    traceback: str

    @classmethod
    def of(cls, error: BaseException) -> "StoredError":
        return cls(get_module_path(type(error)), storable(get_exception_traceback(error)[-MOST_TRACEBACK:]))


_errors = msgspec.json.Decoder(list[StoredError])
_progress = msgspec.json.Decoder(Progress)


def errors_in(data: bytes | None) -> list[StoredError]:
    return _errors.decode(data) if data else []


def progress_in(record: Mapping[bytes, bytes]) -> Progress | None:
    return _progress.decode(record[b"p"]) if b"p" in record else None


def with_error(data: bytes | None, error: BaseException) -> bytes:
    """The errors of all tries, this one the last; those that are long past without their tracebacks."""
    earlier = errors_in(data)
    for at in range(len(earlier) - MOST_ERRORS + 1):
        earlier[at] = StoredError(earlier[at].path, "")
    return msgspec.json.encode([*earlier, StoredError.of(error)])


@lru_cache(maxsize=1000)
def task_at(path: str, queue: str = "", priority: int | None = None) -> Task:
    """The task of that path. Raises ImportError, or SuspiciousOperation if something else is there."""
    found = import_string(path)
    if not isinstance(found, Task):
        raise SuspiciousOperation(f"{path} is not a task.")
    return found.using(queue_name=queue or None, priority=priority) if queue else found


def task_of(payload: Payload) -> Task:
    """As it was enqueued. Raises ImportError, SuspiciousOperation, InvalidTaskError."""
    found = task_at(payload.path, payload.queue, payload.priority)
    return found if payload.run_after is None else replace(found, run_after=from_us(payload.run_after))


def fresh_result(backend: str, job_id: str, task: Task, payload: Payload) -> JobResult:
    """Of a job that nobody has begun."""
    return JobResult(
        task=task,
        id=job_id,
        status=TaskResultStatus.READY,
        enqueued_at=from_us(payload.enqueued),
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=payload.args,
        kwargs=payload.kwargs,
        backend=backend,
        errors=[],
        worker_ids=[],
    )


def result_of(backend: str, job_id: str, payload: Payload, record: Mapping[bytes, bytes]) -> JobResult:
    """Of a job's record. Raises as `task_of`."""
    result: JobResult = JobResult(
        task=task_of(payload),
        id=job_id,
        status=STATES[record[b"s"].decode()],
        enqueued_at=from_us(payload.enqueued),
        started_at=from_us(record.get(b"b")),
        finished_at=from_us(record.get(b"f")),
        last_attempted_at=from_us(record.get(b"l")),
        args=payload.args,
        kwargs=payload.kwargs,
        backend=backend,
        errors=[TaskError(exception_class_path=e.path, traceback=e.traceback) for e in errors_in(record.get(b"e"))],
        worker_ids=record[b"w"].decode().split(",") if record.get(b"w") else [],
        progress=progress_in(record),
        batch=counts_in(payload, record),
    )
    if b"r" in record:
        object.__setattr__(result, "_return_value", msgspec.json.decode(record[b"r"]))
    return result


def counts_in(payload: Payload, record: Mapping[bytes, bytes]) -> Counts | None:
    """None for a job that is not the last one of a batch."""
    if payload.left < 0:
        return None
    return Counts(payload.left, int(record.get(b"left", payload.left)), int(record.get(b"lost", 0)))


def begun(result: JobResult, at: int, workers: list[str]) -> None:
    """Note that a try begins, as the record does. `at` in µs."""
    for name, value in (
        ("status", TaskResultStatus.RUNNING),
        ("last_attempted_at", from_us(at)),
        ("worker_ids", workers),
    ):
        object.__setattr__(result, name, value)
    if result.started_at is None:
        object.__setattr__(result, "started_at", from_us(at))


def finished(result: JobResult, *, value: Any = None, error: BaseException | None = None) -> JobResult:
    """Note that it has ended, as the record does."""
    object.__setattr__(result, "finished_at", timezone.now())
    if error is None:
        object.__setattr__(result, "status", TaskResultStatus.SUCCESSFUL)
        object.__setattr__(result, "_return_value", value)
    else:
        stored = StoredError.of(error)
        result.errors.append(TaskError(exception_class_path=stored.path, traceback=stored.traceback))
        object.__setattr__(result, "status", TaskResultStatus.FAILED)
    return result
