from django.apps import AppConfig


class RatelimitConfig(AppConfig):
    name = "ratelimit"
    verbose_name = "Rate limits"

    def ready(self) -> None:
        from . import receivers  # noqa: F401  receivers connect when imported
