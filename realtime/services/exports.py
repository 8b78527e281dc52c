"""Exports, asked for and cancelled. What their jobs do is in `exporting`."""

import logging
from functools import partial

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_tasks import default_task_backend
from django_tasks.exceptions import TaskResultDoesNotExist
from redis.exceptions import RedisError

from accounts.models import User
from realtime.errors import ChatError
from realtime.exporting import standing
from realtime.exporting.jobs import export_room
from realtime.models import Export, Membership

logger = logging.getLogger("realtime")


def ask_export(user: User, room_id: int) -> bool:
    """Have the messages of a room written for one of its members, in place of an earlier export; whether one begins.

    Nothing does while an earlier one is under way. Raises ChatError no_room, untold while that can't be known.
    """
    earlier = Export.objects.of(user, room_id).first()
    # Before the transaction: while Redis hangs, no lock may be held that others' commits wait for.
    return not (earlier is not None and _is_under_way(earlier)) and _begin(user, room_id, earlier)


@transaction.atomic
def _begin(user: User, room_id: int, earlier: Export | None) -> bool:
    membership = _locked_membership(user, room_id)
    current = Export.objects.filter(membership=membership).first()
    if current != earlier:
        return False  # another tab has just asked
    if current is not None:
        current.delete()
    job = export_room.enqueue(room_id, user.pk)  # a row of the outbox: it begins after the commit, or never
    Export.objects.create(membership=membership, job_id=job.id)
    return True


def _locked_membership(user: User, room_id: int) -> Membership:
    """Of two who ask at once the second finds what the first has made."""
    mine = Membership.objects.filter(room=room_id, user=user, user__is_active=True)
    membership = mine.select_for_update(of=("self",)).first()
    if membership is None:
        raise ChatError("no_room")
    return membership


def _is_under_way(export: Export) -> bool:
    """By its job alone: until that has ended, another one of this room and person would not begin."""
    try:
        return not default_task_backend.get_result(export.job_id).is_finished
    except TaskResultDoesNotExist:
        return False
    except (RedisError, OSError) as error:
        raise ChatError("untold") from error


def cancel_export(user: User, room_id: int) -> bool:
    """Have an export that is under way end, with nothing left of it; whether there was one."""
    export = Export.objects.of(user, room_id).filter(file="", cancelled_at=None).first()
    if export is None or not standing.standing_of(export).is_moving:
        return False
    # Not where the job has handed its file over meanwhile.
    marked = Export.objects.filter(pk=export.pk, file="", cancelled_at=None).update(cancelled_at=timezone.now())
    if marked:
        transaction.on_commit(partial(_end, export.job_id))
    return bool(marked)


def remove_exports(exports: QuerySet[Export]) -> int:
    """Whatever they are at: those under way end, and the files go after the commit. How many there were."""
    return exports.delete()[0]


def _end(job_id: str) -> None:
    """The row says it already, and the job looks there: this only has it notice at once."""
    try:
        default_task_backend.get_result(job_id).cancel()
    except TaskResultDoesNotExist:
        pass
    except (RedisError, OSError) as error:
        logger.warning("The job %s is cancelled when it looks at its row: %s", job_id, error)
