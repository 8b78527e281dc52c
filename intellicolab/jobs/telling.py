"""Django Tasks' signals. A receiver that fails is logged and changes nothing: the job is stored, or has run."""

import logging
from typing import Any

from django.dispatch import Signal
from django_tasks import signals
from django_tasks.base import TaskResult

_LOGGERS = {id(signals.log_task_enqueued), id(signals.log_task_started), id(signals.log_task_finished)}
_logger = logging.getLogger("django_tasks")


def tell(signal: Signal, sender: type, result: TaskResult) -> None:
    signal.send_robust(sender, task_result=result)


async def atell(signal: Signal, sender: type, result: TaskResult) -> None:
    """On an event loop: receivers that are no coroutines may use the database, so they are called in a thread.

    Not the packages's own, which only write to the log: the way to a thread costs more than a small job.
    """
    if _are_loggers(signal):
        signal.send_robust(sender, task_result=result)
    else:
        await signal.asend_robust(sender, task_result=result)


def is_heard(signal: Signal, level: int) -> bool:
    """Whether anybody receives it, or a log of that level is kept."""
    return _logger.isEnabledFor(level) or not _are_loggers(signal)


def _are_loggers(signal: Signal) -> bool:
    receivers: list[Any] = signal.receivers
    return all(key[0] in _LOGGERS for key, *_rest in receivers)
