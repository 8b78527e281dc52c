"""Who has done what: actions of administrators as Django's log entries, each with a sentence."""

from collections.abc import Sequence

from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, Q
from django.http import HttpRequest

SHOWN = 10


def note(request: HttpRequest, area: str, subject: str, sentence: str) -> None:
    """Of something that is no row of the database: `note(request, "events", "push", "Paused.")`."""
    LogEntry.objects.create(
        user_id=_who(request),
        object_id=f"{area}:{subject}",
        object_repr=subject[:200],
        action_flag=CHANGE,
        change_message=sentence,
    )


def note_rows(request: HttpRequest, rows: Sequence[Model], sentence: str) -> None:
    """Of rows that are gone by it."""
    LogEntry.objects.log_actions(_who(request), rows, DELETION, sentence)


def _who(request: HttpRequest) -> int:
    assert request.user.pk is not None, "the admin lets nobody in who has no account"
    return int(request.user.pk)


def latest(area: str, *models: type[Model]) -> list[LogEntry]:
    """The last things done in that area, or to rows of these models, the newest first."""
    types = ContentType.objects.get_for_models(*models).values()
    about = Q(content_type__in=types) | Q(content_type=None, object_id__startswith=f"{area}:")
    return list(LogEntry.objects.filter(about).select_related("user").order_by("-pk")[:SHOWN])
