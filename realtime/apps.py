from django.apps import AppConfig


class RealtimeConfig(AppConfig):
    name = "realtime"
    verbose_name = "Chat"

    def ready(self) -> None:
        from . import receivers  # noqa: F401  signal receivers register when imported
