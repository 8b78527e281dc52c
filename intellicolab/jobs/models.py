"""What the database keeps of jobs: how far each plan is, and which queues stand still. The jobs are in Redis."""

from django.db import models


class PlannedJob(models.Model):
    """A plan that the code declares. `last` is the planned moment of the latest run that was enqueued."""

    name = models.CharField(max_length=100, primary_key=True)
    last = models.DateTimeField()
    is_paused = models.BooleanField("paused", default=False)

    class Meta:
        ordering = ["name"]
        permissions = [("operate_jobs", "Can cancel, run, retry and discard jobs, pause and resume queues and plans")]

    def __str__(self) -> str:
        return self.name


class PausedQueue(models.Model):
    """That an administrator has paused a queue. Who takes jobs finds it in Redis; workers that join bring it there, so
    that it outlives a loss of Redis' data, which takes their places as well."""

    backend = models.CharField(max_length=64)
    queue = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["backend", "queue"], name="paused_once")]

    def __str__(self) -> str:
        return self.queue
