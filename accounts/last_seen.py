"""When a person was last here: at a request, or when a socket of theirs was opened or closed. Written behind.

Most requests follow another one within a minute, so a process notes a person once a minute, and what it shows to
others is exact to the minute.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from django.db import Error as DatabaseFault

from intellicolab.cache.behind import Entry, Row, update_latest
from intellicolab.cache.behind.strategy import WriteBehindLatest
from intellicolab.cache.declaration import Cached

from .models import User
from .noted import Noted

logger = logging.getLogger("accounts")

TTL = 10 * 60  # seconds
NOTE_SECONDS = 60.0

_noted = Noted(NOTE_SECONDS)


def _load(user_id: int) -> int | None:
    return _load_many([user_id]).get(user_id)


def _load_many(user_ids: Sequence[int]) -> dict[int, int]:
    rows = User.objects.filter(pk__in=user_ids).values_list("pk", "last_seen")
    return {user_id: int(moment.timestamp()) for user_id, moment in rows if moment is not None}


def _write(entries: Sequence[Entry[int, int]]) -> None:
    # Locked in this order as everywhere: two transactions then can't wait for each other.
    rows = User.objects.filter(pk__in=[entry.key for entry in entries]).order_by("pk")
    list(rows.select_for_update(no_key=True).values_list("pk"))
    changes = [Row({"pk": entry.key}, {"last_seen": _moment(entry.value)}, entry.stamp) for entry in entries]
    update_latest(User.objects.all(), changes, stamp="last_seen_stamp")


# In seconds of Unix time.
_seen: Cached[int] = Cached(
    "last-seen", "{user_id}", _load, many=_load_many, ttl=TTL, type=int,
    strategy=WriteBehindLatest(write=_write, merge="max"),
)  # fmt: skip


def note(user_id: int) -> None:
    """This person is here. Once a minute it costs a round trip."""
    if _noted.is_due(user_id):
        note_leaving(user_id)


def note_leaving(user_id: int) -> None:
    """This person was here until now: noted however lately they were noted before.

    Without Redis and database it costs the note, and not the answer to a request.
    """
    try:
        _seen.set(user_id, value=int(time.time()))
    except DatabaseFault as error:
        logger.debug("It could not be noted that person %d is here: %s", user_id, error)


def of(user_ids: Iterable[int]) -> dict[int, datetime]:
    """When these people were last here, to the minute (UTC); who never was is left out."""
    found = _seen.get_many(user_ids)
    return {user_id: _moment(seconds - seconds % 60) for user_id, seconds in found.items() if seconds is not None}


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
