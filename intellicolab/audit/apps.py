from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "intellicolab.audit"
    label = "audit"
    verbose_name = "Audit log"

    def ready(self) -> None:
        from . import handlers, tasks  # noqa: F401  the group and the plan are known once they are imported
