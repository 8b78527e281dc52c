"""What the pages Events and Jobs have in common."""

from dataclasses import dataclass, field
from datetime import datetime

from django.contrib.admin.models import LogEntry

from intellicolab.redis.lock import HeldLock

from .figures import age
from .tiles import Tile
from .workers import WorkerRow


@dataclass(slots=True)
class Page:
    """`lock` is that of the service which moves things on, of which there is one: the relay, or the scheduler."""

    made_at: datetime
    error: str = ""  # why Redis tells nothing
    problems: list[str] = field(default_factory=list)
    tiles: list[Tile] = field(default_factory=list)
    workers: list[WorkerRow] = field(default_factory=list)
    lock: HeldLock | None = None
    journal: list[LogEntry] = field(default_factory=list)

    @property
    def held_for(self) -> str:
        return age(self.lock.age if self.lock else None)
