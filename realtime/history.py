"""Pages of a room's history: from Redis where they are hot, from the database where not.

The database decides what is so. A page from Redis is used at the version that the room's row has in this request; what
changed since the page's own version is read from the database, where that is little, and given to Redis with it. What
a reader had to read whole, the next one finds there: nobody reads for Redis alone.
"""

from typing import Any

from django.db import connection

from accounts.profiles import get_profiles

from . import frames, hot_messages, queries
from .figures import CAUGHT_UP, HIT, MISS, figures
from .hot_messages import KEEP, Away, Content, Hot
from .queries import PAGE, RoomEntry

MOST_BEHIND = PAGE  # changes; reading more of them costs as much as the page


def page_before(room: RoomEntry, before: int | None = None) -> list[dict[str, Any]]:
    """The PAGE messages below number `before` (the newest without it), oldest first, as they are at the entry's
    version or later."""
    wanted = _wanted(room.last_number, before)
    # A transaction may have read what others can't see yet, or never will: Redis must not learn of it.
    if not wanted or wanted[0] <= room.last_number - KEEP or connection.in_atomic_block:
        return queries.messages_before(room.id, before)
    try:
        hot = hot_messages.read(room.id, wanted[0], wanted[-1])
    except Away:
        return queries.messages_before(room.id, before)
    return _from(hot, room, wanted) or _read_and_kept(hot, room, before)


def _wanted(last_number: int, before: int | None) -> range:
    """The numbers of the page, which have no gaps."""
    end = last_number + 1 if before is None else min(before, last_number + 1)
    return range(max(end - PAGE, 1), end)


def _from(hot: Hot, room: RoomEntry, wanted: range) -> list[Content]:
    """The page, or nothing where it isn't hot."""
    behind = room.last_version - hot.version
    missing = len(wanted) - len(hot.messages)
    # Each message that came since has a version of its own.
    if hot.version == hot_messages.NOTHING or not missing <= behind <= MOST_BEHIND:
        return []
    changed = queries.messages_changed(room.id, hot.version, MOST_BEHIND) if behind else []
    found = None if changed is None else _with_authors(room.id, hot, changed)
    if found is None or not all(number in found for number in wanted):
        return []
    if behind:
        hot_messages.append(room.id, hot.version + 1, room.last_version, changed or [])
    figures.turned_page(CAUGHT_UP if behind else HIT)
    return [found[number] for number in wanted]


def _with_authors(room_id: int, hot: Hot, changed: list[Content]) -> dict[int, Content] | None:
    """The messages by number, newer ones in the place of older; None when somebody of them is gone."""
    found = {content["number"]: content for content in changed}
    left = [content for number, content in hot.messages.items() if number not in found]
    people = get_profiles({content["author"] for content in left})
    authors = {user_id: frames.described(profile) for user_id, profile in people.items() if profile is not None}
    if len(authors) < len(people):
        return None
    return found | {
        content["number"]: {"room": room_id, **content, "author": authors[content["author"]]} for content in left
    }


def _read_and_kept(hot: Hot, room: RoomEntry, before: int | None) -> list[Content]:
    figures.turned_page(MISS)
    page = queries.messages_before(room.id, before)
    if before is None or before > room.last_number:
        if hot.version < room.last_version:
            hot_messages.fill(room.id, room.last_version, page)
    elif hot.version == room.last_version:
        hot_messages.extend(room.id, room.last_version, page)
    return page
