"""What a task that takes its context may ask and tell."""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import msgspec
from django_tasks.base import TaskContext
from redis.exceptions import RedisError

from intellicolab.redis import keys, scripts
from intellicolab.redis.client import Purpose, Role, async_client, client

from .results import Counts, JobResult, Progress

logger = logging.getLogger("intellicolab.jobs")

PAUSE = 0.2  # seconds between two stores of a job's progress: nobody sees more of them

_progress = scripts.load(Path(__file__).parent, "progress")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext(TaskContext):
    """The first argument of a task that is declared with `takes_context=True`."""

    _told: list[float] = field(default_factory=lambda: [0.0], repr=False, compare=False)

    @property
    def batch(self) -> Counts | None:
        """Of the batch of which this is the last job. Raises RedisError."""
        return cast(JobResult, self.task_result.task.get_backend().get_result(self.task_result.id)).batch

    def progress(self, done: float, total: float, note: str = "") -> None:
        """Tell how far the job is, for `get_result(...).progress`. Costs nothing when called often, and never fails."""
        if self._is_due(done, total):
            try:
                _progress(client(Role.STATE, Purpose.FAST), *self._call(done, total, note))
            except (RedisError, OSError) as error:
                logger.debug("The progress of a job was not stored: %s", error)

    async def aprogress(self, done: float, total: float, note: str = "") -> None:
        """As `progress`, in a coroutine."""
        if self._is_due(done, total):
            try:
                fast = async_client(Role.STATE, Purpose.FAST)
                await _progress.call_async(fast, *self._call(done, total, note))
            except (RedisError, OSError) as error:
                logger.debug("The progress of a job was not stored: %s", error)

    def _is_due(self, done: float, total: float) -> bool:
        now = time.monotonic()
        if done < total and now < self._told[0] + PAUSE:
            return False
        self._told[0] = now
        return True

    def _call(self, done: float, total: float, note: str) -> tuple[list[str], list[scripts.Argument]]:
        result = self.task_result
        return [keys.job(result.backend, result.id)], [msgspec.json.encode(Progress(done, total, note))]
