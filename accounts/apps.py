from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "People"

    def ready(self) -> None:
        # Signal receivers register when imported, and so does what the worker writes.
        from . import attempts, last_seen, receivers  # noqa: F401
