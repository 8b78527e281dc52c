"""For development: a process that is stopped properly and started anew when the code changes."""

import logging
from collections.abc import Sequence
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.utils.autoreload import StatReloader

from .children import Child
from .stop import Stop

logger = logging.getLogger("intellicolab")

LOOK_SECONDS = 1.0


class Code(StatReloader):
    """Django's watcher of files, asked instead of ending the process: what runs there must stop in order."""

    def __init__(self) -> None:
        super().__init__()
        for app in apps.get_app_configs():
            if Path(app.path).is_relative_to(settings.BASE_DIR):
                self.watch_dir(app.path, "**/*.py")  # also what this process has not imported
                self.watch_dir(app.path, "**/*.lua")
        self._stamps = dict(self.snapshot_files())

    def has_changed(self) -> bool:
        """Whether a file is newer than at the last look, new, or gone."""
        before, self._stamps = self._stamps, dict(self.snapshot_files())
        return before != self._stamps


def run_reloaded(name: str, command: Sequence[str]) -> None:
    """Run the command until a signal comes. If it ends by itself, as with a mistake in the code, the next change starts
    it again."""
    stop, code, child = Stop(), Code(), Child(name, command)
    child.start()
    try:
        while not stop.wait(LOOK_SECONDS):
            if code.has_changed():
                logger.warning("The code has changed: %s starts anew", name[0].lower() + name[1:])
                child.stop()
                child.start()
    finally:
        child.stop()
