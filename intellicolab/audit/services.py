"""Every write to the audit log: an entry a fact, and the end of old entries."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from accounts.models import User
from intellicolab.events.schema import Event

from .models import AuditEntry
from .sentences import tell

BATCH = 1000  # entries deleted in one statement


def record(event: Event) -> None:
    """Keep a fact as an entry, once. Raises LookupError for a kind that has no sentence."""
    told = tell(event)
    # Who is deleted at this moment has the commit refused, and is gone at the next try.
    actor = User.objects.filter(pk=told.actor_id).only("display_name").first()
    AuditEntry.objects.get_or_create(
        event_id=event.id,
        defaults={
            "at": event.at,
            "event": event.name,
            "actor": actor,
            "actor_name": actor.display_name if actor else "",
            "subject": told.subject[:255],
            "person_id": told.person_id,
            "room_id": told.room_id,
            "sentence": told.sentence,
        },
    )


def prune() -> int:
    """Delete what is older than AUDIT_DAYS; how many entries."""
    old = AuditEntry.objects.filter(at__lt=timezone.now() - timedelta(days=settings.AUDIT_DAYS)).order_by("at")
    deleted = 0
    while rows := list(old.values_list("pk", flat=True)[:BATCH]):
        deleted += AuditEntry.objects.filter(pk__in=rows).delete()[0]
    return deleted
