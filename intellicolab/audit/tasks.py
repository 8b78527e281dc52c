"""What is done to the audit log by itself."""

from django_tasks import task

from intellicolab.jobs.plans import plan

from . import services


@task(queue_name="bulk", retries=3, backoff=60)
def prune_audit_log() -> int:
    return services.prune()


plan("prune the audit log", prune_audit_log, "30 3 * * *")
