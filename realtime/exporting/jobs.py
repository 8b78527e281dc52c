"""The jobs of exports, and when the old ones go."""

from django_tasks import task

from intellicolab.jobs.context import JobContext
from intellicolab.jobs.errors import JobCancelled
from intellicolab.jobs.plans import plan

from . import making
from .errors import NotWanted

HOUR = 60 * 60.0


@task(queue_name="bulk", takes_context=True, unique="{room_id}:{user_id}", retries=1, backoff=5.0, time_limit=HOUR)
def export_room(context: JobContext, room_id: int, user_id: int) -> None:
    """Write the messages of a room into a file for one of its members."""
    try:
        making.make(context.task_result.id, context.progress)
    except NotWanted:
        raise JobCancelled from None


@task(queue_name="bulk", retries=3, backoff=60.0)
def remove_old_exports() -> int:
    """Remove exports past their time; how many."""
    return making.remove_old()


plan("remove old exports", remove_old_exports, "20 3 * * *")
