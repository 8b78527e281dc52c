"""Jobs that are given up become a fact, before they are noted as dead."""

from collections.abc import Sequence

from asgiref.sync import sync_to_async
from django.db import close_old_connections

from intellicolab.events.outbox import emit_all
from intellicolab.redis.codec import storable

from .desk import Ending
from .events import JobDead


async def tell_of_deaths(endings: Sequence[Ending]) -> None:
    """Raises DatabaseError. Who dies right after it tells again, under the same id: groups drop the second."""
    dead = [_fact(ending) for ending in endings if ending.what == "dead"]
    if dead:
        await sync_to_async(_emit)(dead)


def _emit(facts: Sequence[JobDead]) -> None:
    close_old_connections()
    emit_all(facts)


def _fact(ending: Ending) -> JobDead:
    job, payload = ending.job, ending.job.payload
    return JobDead(
        id=f"{job.id[:18]}{job.begun:014x}",  # a job may be revived and die again, in another try
        job_id=job.id,
        task=payload.path if payload else "",
        queue=payload.queue if payload else "",
        reason=storable(f"{type(ending.error).__qualname__}: {ending.error}"[:1000]),
    )
