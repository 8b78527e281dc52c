"""The workers that live, and what they work on."""

from dataclasses import dataclass

from django.utils import timezone

from intellicolab.redis.heartbeat import Worker

from .figures import age


@dataclass(frozen=True, slots=True)
class WorkerRow:
    worker: Worker

    @property
    def uptime(self) -> str:
        return age((timezone.now() - self.worker.started).total_seconds())

    @property
    def parts(self) -> list[tuple[str, str]]:
        """What it runs, by the part's name."""
        return [(name, _words(value)) for name, value in self.worker.runs.items()]


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_words(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    return str(value)
