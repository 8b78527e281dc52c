"""What the database itself must remember of write-behind: who may flush, and which batches it has seen."""

from django.db import models
from django.utils import timezone

from intellicolab.redis.fence import StaleFence, advance_fence


class Fence(models.Model):
    """The highest fencing number that has written under a lock's name."""

    name = models.CharField(max_length=100, primary_key=True)
    fence = models.PositiveBigIntegerField()

    def __str__(self) -> str:
        return f"{self.name}: {self.fence}"

    @classmethod
    def advance(cls, name: str, number: int) -> None:
        """Call it first in each transaction that the lock `name` protects. Raises StaleFence when a higher number has
        written: the caller's lock has gone to another, and the transaction must not commit."""
        try:
            advance_fence(cls.objects.filter(pk=name), number)
        except StaleFence:
            # Perhaps only the row is missing; if two make it at once, one of them makes it.
            Fence.objects.bulk_create([Fence(name=name, fence=number)], ignore_conflicts=True)
            advance_fence(cls.objects.filter(pk=name), number)


class FlushedBatch(models.Model):
    """That a batch of sums has been applied, written in the same transaction: no batch is applied twice."""

    id = models.CharField(max_length=64, primary_key=True)
    applied_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        verbose_name_plural = "flushed batches"

    def __str__(self) -> str:
        return self.id
