"""Tasks with more than Django's: tries, a time limit, uniqueness, a rate, and how long the result is kept.

@task(retries=5, time_limit=60, unique="room:{room_id}")
def export_room(room_id: int) -> str: ...
"""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, Generic, ParamSpec, TypeVar

import msgspec
from django_tasks.base import Task
from django_tasks.exceptions import InvalidTaskError

P = ParamSpec("P")
T = TypeVar("T")

DAY = 24 * 60 * 60
LONGEST_KEPT = 10 * 366 * DAY  # seconds; Redis refuses an end that it cannot count up to, when the job has run
LONGEST_DELAY = 60 * 60.0  # seconds between two tries
MOST_DOUBLINGS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Task[P, T], Generic[P, T]):
    """What `@task` makes with our backend.

    `unique` names the job by its arguments, `"room:{room_id}"`: of the same name and task only one waits or runs.
    Whoever enqueues a second one gets the first; with `unique_until="start"` only while it waits. `rate` is a name that
    the backend's limiter knows.
    """

    retries: int = 0  # further tries after one that raised
    backoff: float = 2.0  # seconds before the second try; doubled before each further one, half of it at random
    time_limit: float | None = 30 * 60.0  # seconds of one try
    unique: str = ""
    unique_until: str = "end"
    rate: str = ""
    keep: float = DAY  # seconds for which the result of a job that succeeded is kept; 0 keeps nothing

    def delay(self, failures: int) -> float:
        """Seconds before the next try, after so many that raised."""
        longest: float = min(self.backoff * 2.0 ** min(failures - 1, MOST_DOUBLINGS), LONGEST_DELAY)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  jitter, not a secret

    def digest(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Of what the job is unique by, after an `s` (until it starts) or an `e` (until it ends); empty if it is not.

        Raises InvalidTaskError where the name cannot be made.
        """
        if not self.unique:
            return ""
        called = self._named(args, kwargs)
        try:
            name = self.unique.format(**called)
        except (KeyError, IndexError, AttributeError) as error:
            raise InvalidTaskError(
                f"unique={self.unique!r} of {self.module_path} names no argument: {error}"
            ) from error
        return self.unique_until[0] + hashlib.blake2b(f"{self.module_path} {name}".encode(), digest_size=16).hexdigest()

    def _named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name, with the defaults, and all of them together as `args`."""
        shape = signature(self.func)
        given = ([None] if self.takes_context else []) + [*args]
        try:
            bound = shape.bind(*given, **kwargs)
        except TypeError as error:
            raise InvalidTaskError(f"{self.module_path} does not take these arguments: {error}") from error
        bound.apply_defaults()
        return {**bound.arguments, "args": msgspec.json.encode([args, kwargs], order="sorted").decode()}


def refuse_bad_options(task: Job) -> None:
    """Raises InvalidTaskError that says what to write."""
    require(task.retries >= 0 and task.retries == int(task.retries), "retries must be a whole number from 0 on.")
    require(task.backoff > 0, "backoff must be a number of seconds above 0.")
    require(task.time_limit is None or task.time_limit > 0, "time_limit must be a number of seconds above 0, or None.")
    require(task.unique_until in ("start", "end"), 'unique_until must be "start" or "end".')
    require(0 <= task.keep <= LONGEST_KEPT, "keep must be a number of seconds from 0 on, up to ten years.")


def require(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidTaskError(message)
