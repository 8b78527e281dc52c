"""A client's copy of a room, kept right by the version rule of docs/protocol.md."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Change = dict[str, Any]

MOST_HELD = 500  # changes that came before the one they follow; for what is beyond, the server is asked anyway


@dataclass(slots=True)
class RoomCopy:
    """What is known of a room at `version`: its messages by number, its settings, who came and who left since.

    `on_change` hears of every change, in order. The newest `keep` messages are kept; all of them without it.
    """

    id: int
    version: int
    on_change: Callable[[Change], None]
    keep: int | None = None
    messages: dict[int, Change] = field(default_factory=dict)
    settings: Change | None = None
    people: dict[int, Change] = field(default_factory=dict)
    known: int = 0  # the highest version heard of
    _held: dict[int, Change] = field(default_factory=dict)

    @property
    def is_behind(self) -> bool:
        return self.known > self.version

    def hear_of(self, version: int) -> None:
        """The server says that the room stands at this version."""
        self.known = max(self.known, version)

    def receive(self, change: Change) -> None:
        """A change that was pushed: an old one is ignored, the next one applied, an early one held."""
        self.hear_of(change["version"])
        if change["version"] > self.version and len(self._held) < MOST_HELD:
            self._held[change["version"]] = change
        self._release()

    def catch_up(self, changes: list[Change], upto: int) -> None:
        """An answer to `room.resume`; after it the copy is at `upto`."""
        for change in changes:
            self._apply(change)
        self.version = max(self.version, upto)
        self._release()

    def begin_anew(self, messages: list[Change], version: int) -> None:
        """Too much has happened: the newest page, and the version that it was made from, stand for all of it.

        One that was asked for before another and came after it would take away what that has brought.
        """
        if version < self.version:
            return
        self.messages.clear()
        self.catch_up(messages, version)

    def _release(self) -> None:
        self._held = {version: change for version, change in self._held.items() if version > self.version}
        while change := self._held.pop(self.version + 1, None):
            self._apply(change)
            self.version += 1

    def _apply(self, change: Change) -> None:
        match change["type"]:
            case "message.new":
                self._put(change)
            case "room.settings":
                self.settings = change
            case "room.member":
                self.people[change["user"]["id"]] = change
        self.on_change(change)

    def _put(self, message: Change) -> None:
        """A row of a higher version always wins."""
        there = self.messages.get(message["number"])
        if there is None or there["version"] < message["version"]:
            self.messages[message["number"]] = message
        while self.keep is not None and len(self.messages) > self.keep:
            del self.messages[min(self.messages)]
