"""What the jobs of exports do to rows and files. Who may have an export is decided again here, and at the download."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.zones import zone
from realtime import queries
from realtime.errors import ChatError
from realtime.models import Export

from . import archive, files, sheets
from .archive import Contents
from .errors import NotWanted

KEPT = timedelta(days=7)
AT_ONCE = 200  # rows a transaction

# Told how many messages were written, of how many, and what is being written.
Progress = Callable[[float, float, str], None]


def make(job_id: str, progress: Progress) -> None:
    """Make the file that the row of this job asks for, unless it is there.

    Raises NotWanted when nobody may have it or wants it any more, DiskFull, OSError.
    """
    export = Export.objects.filter(job_id=job_id).select_related("membership__user").first()
    if export is None:
        raise NotWanted
    if not export.file:
        contents = _contents(export)
        with files.fresh(job_id) as part:
            _write(part, export, contents, progress)
            _hand_over(export, part, contents.upto)


def _contents(export: Export) -> Contents:
    user, room_id = export.membership.user, export.membership.room_id
    try:
        room = queries.entry_for(user, room_id)
    except ChatError as error:
        raise NotWanted from error
    about = sheets.about(room.title, room.topic, room.last_number)
    return Contents(room_id, room.last_number, about, zone(user.time_zone))


def _write(part: Path, export: Export, contents: Contents, progress: Progress) -> None:
    def tell(done: int, what: str) -> None:
        if not _is_wanted(export):
            raise NotWanted
        progress(done, contents.total, what)

    tell(0, "the data")
    archive.write(part, contents, tell)


def _is_wanted(export: Export) -> bool:
    """Who left the room, or was put out, has no membership, and so no row."""
    return Export.objects.wanted().filter(pk=export.pk).exists()


def _hand_over(export: Export, part: Path, messages: int) -> None:
    """Of two tries at once the first one's file is kept, and none of an export that is gone.

    Where the row can't be told to be written or not, the file stays: named by no row, it is one of the night's strays.
    """
    size = part.stat().st_size
    name = files.keep(part)
    if not _note(export, file=name, size=size, messages=messages):
        files.remove(name)
        raise NotWanted


def _note(export: Export, **made: object) -> bool:
    now = timezone.now()
    unmade = Export.objects.wanted().filter(pk=export.pk, file="")
    return bool(unmade.update(made_at=now, expires_at=now + KEPT, **made))


def remove_old() -> int:
    """Remove exports past their time, and what killed workers have left; how many rows and stray files."""
    return _remove_rows() + _remove_strays()


def _remove_rows() -> int:
    now, count = timezone.now(), 0
    old = Export.objects.filter(Q(expires_at__lte=now) | Q(made_at=None, asked_at__lte=now - KEPT)).order_by("pk")
    while chosen := list(old.values_list("pk", flat=True)[:AT_ONCE]):
        with transaction.atomic():
            Export.objects.filter(pk__in=chosen).delete()  # the files follow: see receivers.py
        count += len(chosen)
    return count


def _remove_strays() -> int:
    names, count = files.stale(), 0
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        strays = set(some) - set(Export.objects.filter(file__in=some).values_list("file", flat=True))
        for name in strays:
            files.remove(name)
        count += len(strays)
    return count
