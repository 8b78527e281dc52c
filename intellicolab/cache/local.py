"""The local tier: hot cached values in the process itself, where a hit costs no round trip.

Three things keep it right. Redis sends an invalidation for every write to the tracked keys (`tracking.py`), and with
it go the entry, every entry made under it (a tag's stamp), and what a read under way would bring. Nothing is served
outside the tier's lease, which the tracker extends only as far as it knows to have every invalidation: so a server
that falls silent, or this process standing still, costs hits and no truth. And when tracking is lost, all is dropped.

Instead of a mark for each read under way, the tier keeps the order of its latest invalidations, and a read brings
the number it began at. A reader that dies half-way, a cancelled task, so leaves nothing behind.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from enum import Enum
from time import monotonic
from typing import Final, Generic, NamedTuple, TypeVar

from .tracking import Tracker, tracker

V = TypeVar("V")

# Invalidations remembered for reads under way. A read during which more than these arrive is not kept: at 1,000
# writes a second to a tier's keys that is one which takes four seconds. 4,096 names are about half a megabyte.
REMEMBERED = 4096
# Entries that one eviction passes over because they were used: the time that the tier's lock is held stays bounded.
SECOND_CHANCES = 32


class Missing(Enum):
    """What `get` answers when it has no value; None is a value."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


class Ticket:
    """One read under way; of use to the tier that gave it, once."""

    __slots__ = ("name", "since", "spent")

    def __init__(self, name: str, since: int) -> None:
        self.name = name
        self.since = since
        self.spent = False


class TierStats(NamedTuple):
    entries: int
    bytes: int
    evictions: int


class _Entry(Generic[V]):
    __slots__ = ("depends", "expires", "size", "used", "value")

    def __init__(self, value: V, size: int, expires: float, depends: Sequence[str]) -> None:
        self.value = value
        self.size = size
        self.expires = expires
        self.depends = depends
        self.used = False


class _Changes:
    """The order in which names were last invalidated; its owner holds a lock around every call."""

    def __init__(self) -> None:
        self.count = 0
        self._latest: OrderedDict[str, int] = OrderedDict()
        self._forgotten = 0  # what was invalidated at this number or before is not known by name

    def note(self, name: str) -> None:
        self.count += 1
        self._latest[name] = self.count
        self._latest.move_to_end(name)
        if len(self._latest) > REMEMBERED:
            _, self._forgotten = self._latest.popitem(last=False)

    def note_all(self) -> None:
        self.count += 1
        self._latest.clear()
        self._forgotten = self.count

    def any_since(self, count: int, names: Iterable[str]) -> bool:
        return count < self._forgotten or any(self._latest.get(name, 0) > count for name in names)


class LocalTier(Generic[V]):
    """At most `max_entries` values and `max_bytes` of their encoded size, under names that are Redis keys.

    Every name, and every key that an entry depends on, begins with one of `prefixes`: what does not is not tracked.
    All methods may be called from any thread and any event loop; none waits for Redis. Values are handed out as they
    were put in, to everyone: they must be immutable. Raises ValueError for a bound below one and an empty prefix.
    """

    def __init__(
        self, prefixes: Sequence[str], max_entries: int, max_bytes: int, *, tracker: Tracker = tracker
    ) -> None:
        if not prefixes or not all(prefixes):
            raise ValueError("A local tier needs prefixes of its keys; an empty one would track every key there is.")
        if max_entries < 1 or max_bytes < 1:
            raise ValueError("A local tier holds at least one entry of at least one byte.")
        self.prefixes = tuple(prefixes)
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._tracker = tracker
        self.start_empty()
        tracker.watch(self)

    def get(self, name: str) -> V | Missing:
        """The value of `name`, or MISSING. Takes no lock: the entry and the lease are each read once."""
        try:
            entry = self._entries[name]  # a sixth of a hit's time less than a call of the dictionary's `get`
        except KeyError:
            return MISSING
        if not entry.expires > monotonic() < self._until:
            return MISSING
        entry.used = True
        return entry.value

    def begin(self, name: str) -> Ticket | None:
        """To be called before the value is read from Redis; None while invalidations would not reach us."""
        # The number before the lease: were tracking lost in between, the read would pass for one begun afterwards.
        since = self._changes.count
        if monotonic() >= self._until:
            self._tracker.start()
            return None
        return Ticket(name, since)

    def put(self, ticket: Ticket, value: V, size: int, expires: float, depends: Sequence[str] = ()) -> bool:
        """Keep what the read brought until `expires` (time.monotonic()); whether it was kept.

        `size` is the value's encoded size in bytes, `depends` the further keys that the value was made under. Refused
        when one of them or the name was invalidated since the read began, and when the value is above the bound.
        """
        with self._lock:
            if ticket.spent or self._changes.any_since(ticket.since, (ticket.name, *depends)):
                return False
            ticket.spent = True
            self._remove(ticket.name)
            if size > self._max_bytes:
                return False
            self._make_room(size)
            self._insert(ticket.name, _Entry(value, size, expires, tuple(depends)))
        return True

    def abandon(self, ticket: Ticket) -> None:
        """The read failed: nothing can be put with its ticket any more."""
        ticket.spent = True

    def drop(self, *names: str) -> None:
        """Forget these names, what depends on them, and what reads under way bring of them.

        Redis sends the invalidation too; this is for the writer itself, who calls it when Redis has answered the write
        (or has not), so that what it reads next is not what it has just overwritten.
        """
        for name in names:
            with self._lock:  # one at a time: an invalidation of thousands must not hold an event loop up
                self._changes.note(name)
                self._remove(name)
                for dependant in self._dependants.pop(name, ()):
                    self._remove(dependant)

    def clear(self) -> None:
        """Forget everything, also what reads under way bring."""
        with self._lock:
            self._changes.note_all()
            self._entries.clear()
            self._dependants.clear()
            self._bytes = 0

    @property
    def stats(self) -> TierStats:
        return TierStats(len(self._entries), self._bytes, self._evictions)

    # What the tracker calls.

    def invalidated(self, keys: Iterable[str]) -> None:
        """Keys of any prefix were written to."""
        self.drop(*(key for key in keys if key.startswith(self.prefixes)))

    def extend(self, until: float) -> None:
        """Entries may be served until then (time.monotonic())."""
        self._until = until

    def lose(self) -> None:
        """Invalidations no longer reach us."""
        self._until = 0.0  # first: `begin` must not see the new number together with the old lease
        self.clear()

    def start_empty(self) -> None:
        """As if just made: in a forked child, what another thread was at is half done and its lock is held for ever."""
        self._until = 0.0
        self._lock = threading.Lock()
        self._changes = _Changes()
        self._entries: OrderedDict[str, _Entry[V]] = OrderedDict()
        self._dependants: dict[str, set[str]] = {}
        self._bytes = 0
        self._evictions = 0

    # The lock is held.

    def _insert(self, name: str, entry: _Entry[V]) -> None:
        self._entries[name] = entry
        self._bytes += entry.size
        for key in entry.depends:
            self._dependants.setdefault(key, set()).add(name)

    def _remove(self, name: str) -> None:
        entry = self._entries.pop(name, None)
        if entry is None:
            return
        self._bytes -= entry.size
        for key in entry.depends:
            names = self._dependants.get(key, set())
            names.discard(name)
            if not names:
                self._dependants.pop(key, None)

    def _make_room(self, size: int) -> None:
        while self._entries and (len(self._entries) >= self._max_entries or self._bytes + size > self._max_bytes):
            self._remove(self._victim())
            self._evictions += 1

    def _victim(self) -> str:
        """The oldest entry not used since the hand passed it: second chance (F. J. Corbató, 1968), so a hit needs no
        lock to say that it was one."""
        now = monotonic()
        for _ in range(SECOND_CHANCES):
            name = next(iter(self._entries))
            entry = self._entries[name]
            if not entry.used or entry.expires <= now:
                return name
            entry.used = False
            self._entries.move_to_end(name)
        return next(iter(self._entries))
