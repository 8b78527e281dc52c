"""What changed in a room after a version: messages, its settings, and who is in it, each as it stands now."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any

from django.db.models import Q

from . import frames
from .errors import ChatError
from .models import Departure, Membership, Message, Room

PAGE = 200  # changes an answer to room.resume
MOST = 2000  # changes; who is further behind loads the room again

Change = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes by version. `upto` is the version that a client has once it applied them."""

    changes: list[Change] = field(default_factory=list)
    upto: int = 0
    more: bool = False
    reset: bool = False


def since(room_id: int, version: int, limit: int = PAGE) -> Changes:
    """What changed in a room after `version`; `reset` when that is more than MOST changes.

    The room's version is read before its rows, and nothing above it is told: a change between two reads would
    otherwise hide another one with a lower version. Raises Room.DoesNotExist.
    """
    return _since(Room.objects.get(pk=room_id), version, limit)


def told_to(user_id: int, room_id: int, version: int) -> Changes:
    """As `since`, for one of the room's members. Raises ChatError no_room."""
    room = Room.objects.of(user_id).filter(pk=room_id, memberships__user__is_active=True).first()
    if room is None:
        raise ChatError("no_room")
    return _since(room, version, PAGE)


def _since(room: Room, version: int, limit: int) -> Changes:
    if room.last_version <= version:
        return Changes(upto=room.last_version)
    if room.last_version - version > MOST:
        return Changes(upto=room.last_version, reset=True)
    found = list(islice(_changed(room, version, limit + 1), limit + 1))
    if len(found) <= limit:
        return Changes(found, room.last_version)
    return Changes(found[:limit], found[limit - 1]["version"], more=True)


def _changed(room: Room, version: int, limit: int) -> Iterable[Change]:
    """The changes in their order; each source is asked only where something of it changed."""
    between = Q(room=room, version__gt=version, version__lte=room.last_version)
    rows = Message.objects.filter(between).select_related("author").order_by("version")[:limit]
    sources = [[frames.said(content) for content in frames.messages(rows)]]
    if room.settings_version > version:
        sources.append([frames.settings(room)])
    if room.members_version > version:
        came = Membership.objects.filter(between).select_related("user").order_by("version")[:limit]
        left = Departure.objects.filter(between).select_related("user").order_by("version")[:limit]
        sources.append([frames.member(row, room.people) for row in came])
        sources.append([frames.departed(row, room.people) for row in left])
    return merge(*sources, key=itemgetter("version"))
