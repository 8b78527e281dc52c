"""What others hear of jobs."""

from intellicolab.events.schema import Event, event


@event("job:dead", stream="system-events")
class JobDead(Event):
    """A job has failed for the last time; an administrator may have it tried again."""

    job_id: str
    task: str
    queue: str
    reason: str


@event("job:cancel")
class CancelJob(Event):
    """A running job is to end; who runs it also finds that out when it renews its lease."""

    job_id: str
