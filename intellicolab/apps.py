from django.apps import AppConfig


class IntellicolabConfig(AppConfig):
    name = "intellicolab"
    verbose_name = "IntelliColab"

    def ready(self) -> None:
        from . import checks  # noqa: F401  system checks register when imported
        from .cache import checks as cache_checks  # noqa: F401
