"""What the database keeps of events: those on their way to Redis."""

from django.db import models
from django.utils import timezone


class OutboxRow(models.Model):
    """One entry for a stream, written in the transaction that made it a fact.

    The relay gives it a `position`, in the order of the commits that it sees, and that is the entry's id in the stream.
    Two emitters may commit in another order than they took their primary keys, so those are no positions. Numbers are
    given a stream, without gaps from one to the next that the relay gives.
    """

    id = models.BigAutoField(primary_key=True)
    stream = models.CharField(max_length=64)
    position = models.PositiveBigIntegerField(null=True)
    numbered_at = models.DateTimeField(null=True)
    name = models.CharField(max_length=64)
    version = models.PositiveSmallIntegerField()
    data = models.TextField()
    made_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["stream", "position"], name="outbox_position")]
        indexes = [models.Index(fields=["id"], condition=models.Q(position=None), name="outbox_waiting")]

    def __str__(self) -> str:
        return f"{self.name} for {self.stream}"
