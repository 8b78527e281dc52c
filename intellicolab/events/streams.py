"""The streams of facts in Redis. An entry's id is `position-0`: the database numbers, Redis carries."""

import logging
from collections.abc import Sequence
from pathlib import Path

from redis.exceptions import RedisError

from intellicolab.redis import keys, scripts
from intellicolab.redis.client import Role, client
from intellicolab.redis.fence import StaleFence
from intellicolab.redis.missing import is_missing

from .outbox import NumberedRow

logger = logging.getLogger("intellicolab.events")

# Entries of one stream. Small facts take 150 bytes each: what nobody takes fills 150 MB of Redis or some more,
# and then waits in the database.
MOST = 1_000_000

# A consumer that lives asks every second or so.
CONSUMER_GONE_MS = 60 * 60 * 1000
# A group that another version of the code declares may come back with it.
GROUP_GONE_MS = 24 * 60 * 60 * 1000
# Entries of a stream that no group wants, to be looked at.
SHOWN = 1000

_append = scripts.load(Path(__file__).parent, "append")
_sweep = scripts.load(Path(__file__).parent, "sweep")


class EntriesLost(RuntimeError):
    """The stream ends before the entry that should be its last: it was emptied, or a failover lost what was newest."""

    def __init__(self, last: int) -> None:
        super().__init__(f"The stream ends at {last}.")
        self.last = last


class StreamFull(RuntimeError):
    """The stream holds as much as it may: some group does not take what is in it."""


def append(stream: str, rows: Sequence[NumberedRow], after: int, fence: int, most: int = MOST) -> int:
    """Append rows that follow position `after`, in their order. The stream's last position now.

    Those that are there already are left out, so it can be repeated. Raises StaleFence, EntriesLost, StreamFull (with
    nothing appended) or RedisError.
    """
    args: list[scripts.Argument] = [fence, after, most]
    for row in rows:
        args += [row.position, row.name, row.version, row.data, int(row.made_at.timestamp()), row.group]
    what, last = _append(client(Role.STATE), [keys.event_stream(stream), keys.event_fence(stream)], args)
    if what == b"stale":
        raise StaleFence(f"Another relay has appended to {stream} since: the lock of this one has gone.")
    if what == b"lost":
        raise EntriesLost(last)
    if what == b"full":
        raise StreamFull(f"{stream} holds {most:,} entries that no group has taken.")
    return int(last)


def sweep(stream: str, declared: Sequence[str]) -> int:
    """Remove the entries that every group has acknowledged, and consumers and groups that are gone; how many entries.

    Nothing is removed before each declared group has had its first consumer. Raises RedisError.
    """
    args: list[scripts.Argument] = [CONSUMER_GONE_MS, GROUP_GONE_MS, SHOWN, *declared]
    removed, _consumers, detached = _sweep(client(Role.STATE), [keys.event_stream(stream)], args)
    for name in detached:
        logger.warning("The group %s of %s is declared nowhere and was removed", name.decode(), stream)
    return int(removed)


def last_position(stream: str) -> int:
    """Of the newest entry that the stream ever had; 0 for none. Raises RedisError."""
    try:
        info = client(Role.STATE).xinfo_stream(keys.event_stream(stream))
    except RedisError as error:
        if is_missing(error):
            return 0
        raise
    return int(info["last-generated-id"].split(b"-")[0])
