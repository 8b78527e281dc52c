"""What ends jobs, and what they may raise."""


class JobCancelled(BaseException):
    """Somebody has cancelled the job. No `except Exception` of a task takes it for a failure of its own."""

    def __init__(self, message: str = "The job was cancelled.") -> None:
        super().__init__(message)


class TimeLimitExceeded(BaseException):
    """One try took longer than the task's time limit."""

    def __init__(self, message: str = "The try took longer than the time limit of its task.") -> None:
        super().__init__(message)


class WorkerKilled(Exception):
    """The worker has died in the middle of the job, again and again."""


class QueueFull(RuntimeError):
    """The queue holds as many jobs as it may; nothing was enqueued."""


class Retry(Exception):
    """Raised by a task: try again after so many seconds, if a try is left. Without seconds, as the task declares."""

    def __init__(self, seconds: float | None = None, reason: str = "") -> None:
        super().__init__(reason or "The job asked to be tried again.")
        self.seconds = seconds


class NonRetryable(Exception):
    """Raised by a task: this failure is final, whatever tries are left. The job is dead, and its error tells why.

    For what no further try would change, such as an argument that names nothing. A task may have classes of its own.
    """
