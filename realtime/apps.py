from django.apps import AppConfig


class RealtimeConfig(AppConfig):
    name = "realtime"
    verbose_name = "Chat"

    def ready(self) -> None:
        from . import presence, receivers  # noqa: F401  a cached thing and signal receivers register when imported
