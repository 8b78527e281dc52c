from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "People"

    def ready(self) -> None:
        # Signal receivers register when imported, and so do handlers of facts and what the worker writes.
        from . import attempts, emails, last_seen, receivers  # noqa: F401
