"""Who of this process listens to what: rooms, people's own news, and the presence of everybody."""

import asyncio
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Any

from intellicolab.prepared import encode_all

from .figures import figures
from .outlet import Outlet
from .publisher import room_topic


@dataclass(slots=True)
class Topic:
    """What the hub knows of one room or person: who listens here and, for a room, how far they are."""

    name: str
    room_id: int | None = None
    person_id: int | None = None
    version: int | None = None
    outlets: set[Outlet] = field(default_factory=set)
    early: dict[int, dict[str, Any]] = field(default_factory=dict)
    people: int | None = None  # how many are in the room, as soon as somebody needed to know
    healing: asyncio.TimerHandle | None = None

    def push(self, ready: list[str]) -> None:
        """Each frame is encoded once, and all of them are one write a socket."""
        if ready and self.outlets:
            data = encode_all(ready)
            for outlet in self.outlets:
                outlet.push_all(ready, data)
            figures.sent(len(ready), len(data), len(self.outlets))

    def hang_up(self, sessions: Container[str], code: int) -> None:
        """Close the sockets that were opened with these sessions (hashes)."""
        for outlet in self.outlets:
            if outlet.session in sessions:
                outlet.hang_up(code)


class Topics:
    """Those that somebody listens to. A topic goes with its last socket."""

    def __init__(self) -> None:
        self._by_name: dict[str, Topic] = {}
        self._heard: dict[Outlet, list[str]] = {}  # a set of twenty names would be 2 KB a socket

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, outlet: Outlet) -> bool:
        """Whether the socket listens to anything here."""
        return outlet in self._heard

    @property
    def sockets(self) -> int:
        return len(self._heard)

    def get(self, name: str) -> Topic | None:
        return self._by_name.get(name)

    def all(self) -> list[Topic]:
        return list(self._by_name.values())

    def rooms(self) -> dict[int, Topic]:
        return {topic.room_id: topic for topic in self._by_name.values() if topic.room_id is not None}

    def people(self) -> dict[int, Topic]:
        return {topic.person_id: topic for topic in self._by_name.values() if topic.person_id is not None}

    def add(self, outlet: Outlet, fresh: Topic) -> Topic:
        """Let the socket listen to the topic of that name, which is `fresh` if nobody did so far."""
        topic = self._by_name.setdefault(fresh.name, fresh)
        if outlet not in topic.outlets:
            topic.outlets.add(outlet)
            self._heard.setdefault(outlet, []).append(topic.name)
        return topic

    def take_out(self, outlet: Outlet, name: str) -> list[Topic]:
        """Let the socket listen to this no more; returns the topic if that was its last socket."""
        if name in self._heard.get(outlet, ()):
            self._heard[outlet].remove(name)
        return self._forget(outlet, [name])

    def pop(self, outlet: Outlet) -> tuple[list[int], list[Topic]]:
        """Forget the socket. Returns (the people it was open for, the topics that it was the last one of)."""
        names = self._heard.pop(outlet, [])
        topics = (self._by_name[name] for name in names if name in self._by_name)
        people = [topic.person_id for topic in topics if topic.person_id is not None]
        return people, self._forget(outlet, names)

    def hears(self, outlet: Outlet, room_id: int) -> bool:
        return room_topic(room_id) in self._heard.get(outlet, ())

    def rooms_of(self, outlet: Outlet) -> set[int]:
        """The ids of the rooms that the socket listens to."""
        topics = (self._by_name[name] for name in self._heard.get(outlet, ()))
        return {topic.room_id for topic in topics if topic.room_id is not None}

    def in_any(self, room_ids: Iterable[int]) -> set[Outlet]:
        """The sockets that listen to any of these rooms."""
        topics = (self._by_name.get(room_topic(room_id)) for room_id in room_ids)
        return {outlet for topic in topics if topic is not None for outlet in topic.outlets}

    def clear(self) -> None:
        self._by_name.clear()
        self._heard.clear()

    def _forget(self, outlet: Outlet, names: Iterable[str]) -> list[Topic]:
        topics = [self._by_name[name] for name in names if name in self._by_name]
        for topic in topics:
            topic.outlets.discard(outlet)
        empty = [topic for topic in topics if not topic.outlets]
        for topic in empty:
            del self._by_name[topic.name]
            if topic.healing is not None:
                topic.healing.cancel()
        return empty
