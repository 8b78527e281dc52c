from django.apps import AppConfig


class RealtimeConfig(AppConfig):
    name = "realtime"
    verbose_name = "Chat"

    def ready(self) -> None:
        # What registers when it is imported: handlers of facts, a cached thing, signal receivers, tasks and plans.
        from . import handlers, presence, receivers  # noqa: F401
        from .exporting import jobs  # noqa: F401
