"""What the database keeps of events: those on their way to Redis, those that groups have handled, dead letters, and
which groups stand still."""

from django.db import models
from django.utils import timezone


class OutboxRow(models.Model):
    """One entry for a stream, written in the transaction that made it a fact.

    The relay gives it a `position`, in the order of the commits that it sees, and that is the entry's id in the stream.
    Two emitters may commit in another order than they took their primary keys, so those are no positions. Numbers are
    given a stream, without gaps from one to the next that the relay gives.

    A row with a `group` is for that one only: the others pass its entry over.
    """

    id = models.BigAutoField(primary_key=True)
    stream = models.CharField(max_length=64)
    position = models.PositiveBigIntegerField(null=True)
    numbered_at = models.DateTimeField(null=True)
    name = models.CharField(max_length=64)
    version = models.PositiveSmallIntegerField()
    data = models.TextField()
    made_at = models.DateTimeField(default=timezone.now)
    # The database's default is for processes of the version before, which go on while a newer one is brought in.
    group = models.CharField(max_length=64, default="", db_default="")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["stream", "position"], name="outbox_position")]
        indexes = [models.Index(fields=["id"], condition=models.Q(position=None), name="outbox_waiting")]

    def __str__(self) -> str:
        return f"{self.name} for {self.stream}"


class HandledEvent(models.Model):
    """That a group has handled an event, written in the transaction of its handlers: their effects happen once.

    A group whose effects lie outside of the database writes it before, without `done`, in a transaction of its own.
    """

    group = models.CharField(max_length=64)
    event_id = models.CharField(max_length=32)
    done = models.BooleanField(default=True)
    at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["group", "event_id"], name="handled_once")]

    def __str__(self) -> str:
        return f"{self.event_id} by {self.group}"


class DeadLetter(models.Model):
    """An event that a group has given up: unreadable, or refused by its handlers too often."""

    group = models.CharField(max_length=64)
    stream = models.CharField(max_length=64)
    position = models.PositiveBigIntegerField()
    name = models.CharField(max_length=64)
    version = models.PositiveSmallIntegerField()
    data = models.TextField()
    reason = models.TextField()
    tries = models.PositiveIntegerField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["group", "stream", "position"], name="dead_once")]
        permissions = [("operate_events", "Can replay and discard dead letters, pause and resume groups")]

    def __str__(self) -> str:
        return f"{self.name} for {self.group}"


class Pause(models.Model):
    """That an administrator has paused a group: a decision, which holds whatever becomes of Redis' data."""

    group = models.CharField(max_length=64, primary_key=True)
    by = models.CharField(max_length=255)
    at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.group} paused by {self.by}"
