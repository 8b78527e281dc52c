from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "intellicolab.jobs"
    label = "jobs"
    verbose_name = "Jobs"

    def ready(self) -> None:
        from . import carrier, events  # noqa: F401  what takes jobs out of the outbox, and facts, register when imported
