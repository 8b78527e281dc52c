"""Writing a log into a room: in order, in batches, and each message once however often the log is imported."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from accounts.models import User
from realtime import services
from realtime.errors import ChatError
from realtime.models import Room

from .authors import Authors
from .formats import Format
from .records import Said, Unread

BATCH = 500  # messages a transaction: one fsync for all, and the room is locked for tens of milliseconds
UNREAD_KEPT = 20  # unread lines shown; a file of another format would fill the screen
# What is wrong with the room and not with one message.
_ROOM_ERRORS = {"archived", "no_room"}


@dataclass(slots=True)
class Summary:
    """What an import did. `unread` holds the first UNREAD_KEPT lines of `unread_count`."""

    imported: int = 0
    known: int = 0
    people: int = 0
    people_made: int = 0
    unread_count: int = 0
    unread: list[Unread] = field(default_factory=list)

    def leave_out(self, line: Unread) -> None:
        self.unread_count += 1
        if len(self.unread) < UNREAD_KEPT:
            self.unread.append(line)


class Importer:
    """Imports one log into the open room `room_name`, which the first message makes if it is missing."""

    def __init__(self, room_name: str, log: Format) -> None:
        self._room_name = room_name
        self._log = log
        self._room: Room | None = None
        self._authors = Authors(log)
        self._seen: Counter[str] = Counter()
        self.summary = Summary()

    def run(self, entries: Iterable[Said | Unread]) -> Summary:
        """Raises ChatError when the room can't be written to, NotAPlaceholder when an author's address is taken."""
        said = self._readable(entries)
        while batch := list(islice(said, BATCH)):
            self._store(batch)
        return self.summary

    def _readable(self, entries: Iterable[Said | Unread]) -> Iterator[Said]:
        for entry in entries:
            if isinstance(entry, Said):
                yield entry
            else:
                self.summary.leave_out(entry)

    def _store(self, batch: list[Said]) -> None:
        if self._room is None:
            self._room = open_room(self._room_name)
        ids = self._authors.ids(entry.nick for entry in batch)
        self.summary.people, self.summary.people_made = len(self._authors), self._authors.made
        outcomes = services.post_messages([self._message(self._room, ids, entry) for entry in batch])
        for entry, outcome in zip(batch, outcomes, strict=True):
            self._tally(entry, outcome)

    def _message(self, room: Room, ids: dict[str, int], entry: Said) -> services.NewMessage:
        return services.NewMessage(
            room_id=room.pk,
            author_id=ids[entry.nick],
            client_id=self._client_id(room.pk, entry),
            text=entry.text,
            kind=entry.kind,
            format="plain",
            created_at=entry.at,
            imported=True,
        )

    def _client_id(self, room_id: int, entry: Said) -> str:
        """The same for the same line of the same log, however much the log has grown since.

        Somebody may say the same twice within a minute, so equal lines are told apart by their count.
        """
        minute = entry.at.replace(tzinfo=None).isoformat(timespec="minutes")
        line = json.dumps([room_id, self._log.name, minute, entry.nick, entry.kind, entry.text])
        digest = hashlib.sha256(line.encode()).hexdigest()
        self._seen[digest] += 1
        return hashlib.sha256(f"{digest}:{self._seen[digest]}".encode()).hexdigest()

    def _tally(self, entry: Said, outcome: services.Outcome) -> None:
        if isinstance(outcome, ChatError):
            if outcome.code in _ROOM_ERRORS:
                raise outcome
            self.summary.leave_out(Unread(entry.line, entry.text, outcome.detail))
        elif outcome.again:
            self.summary.known += 1
        else:
            self.summary.imported += 1


def open_room(name: str) -> Room:
    """The open room of that name, whatever its case; a new one belongs to the first administrator, if there is one.

    Raises ChatError bad_name.
    """
    room = Room.objects.directory().filter(name__iexact=services.checked_name(name)).first()
    if room is not None:
        return room
    owner = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    return services.create_room(owner, name)
