"""What the audit log keeps. It outlives what it is about, so people and rooms are named as they were then."""

from django.conf import settings
from django.db import models


class AuditEntry(models.Model):
    """One fact. `actor` is who did it; nobody where it came of itself, or a command did it."""

    at = models.DateTimeField("when", db_index=True)
    event = models.CharField(max_length=64)
    # A fact that comes again, after its group has forgotten that it was handled, is no second entry.
    event_id = models.CharField(max_length=32, unique=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name="person",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    actor_name = models.CharField("who did it", max_length=80, blank=True)
    subject = models.CharField("about", max_length=255)
    # Primary keys of whom and of which room it is about. No foreign keys: these may go, the entry stays.
    person_id = models.PositiveBigIntegerField(null=True, blank=True)
    room_id = models.PositiveBigIntegerField(null=True, blank=True)
    sentence = models.TextField("what happened")

    class Meta:
        ordering = ["-at", "-pk"]
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["event", "at"], name="audit_event")]

    def __str__(self) -> str:
        return self.sentence
