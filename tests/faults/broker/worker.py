"""`manage.py worker` that knows the facts and jobs of a run, with leases that end sooner."""

from typing import Any

import django
from django.conf import settings
from django.core.management import call_command

LEASE = 3.0


def set_up() -> None:
    tasks: Any = settings.TASKS
    tasks["default"]["OPTIONS"]["LEASE"] = LEASE
    django.setup()
    from intellicolab.events.groups import groups

    from . import facts  # noqa: F401  registered when imported

    for group in groups():
        object.__setattr__(group, "silence", LEASE)


if __name__ == "__main__":
    set_up()
    call_command("worker")
