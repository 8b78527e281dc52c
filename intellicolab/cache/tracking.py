"""Invalidations from Redis for the local tiers: `CLIENT TRACKING ON BCAST` over RESP3, one connection a primary.

In broadcast mode the server remembers nothing of what was read: it sends the name of every key that is written,
expires or is evicted under the prefixes asked for, also for our own writes, and a null when a database is flushed. It
works the same on Redis and Valkey; redis-py's own client-side caching refuses Valkey and has no asyncio form
(redis-py#3916). On Cluster every primary is followed, so a slot that moves between two of them needs no attention.

A connection that is silent may be idle or dead, and TCP does not say which. So the tiers hold a lease, which reaches
MAX_STALENESS past the moment up to which every primary's writes are known, and a hit looks at the lease. Whether this
thread runs in time, or at all, decides how many hits there are, never how old they are.
"""

import logging
import os
import selectors
import socket
import threading
import weakref
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from time import monotonic
from typing import Protocol

from redis.exceptions import RedisError, ResponseError

from intellicolab.redis.client import Primary, Purpose, Role, primaries, safe_url, url_of
from intellicolab.redis.connections import Link

from .feed import DEADLINE, HEARTBEAT, Feed

# Seconds. What a tier serves was right at some moment in the last MAX_STALENESS, whatever happens to the server, the
# network or this process. The lease counts from when a PING was sent: the next is sent HEARTBEAT later and may take
# DEADLINE. While the server answers, another process's write is known when its message arrives, in milliseconds.
# When a replica takes over, the time counts from when the Sentinels, or the Cluster's node that is asked, know of it.
MAX_STALENESS = HEARTBEAT + DEADLINE
LOOK = HEARTBEAT  # seconds between two looks for the primaries; a look stands for a PING to those that might be new
RETRY = 0.5  # seconds from a lost connection to the next attempt
# Seconds until the next attempt after what will not pass by itself: an ACL without CLIENT, a proxy, a fault of ours.
REFUSED_RETRY = 30.0
STOP = 2.0  # seconds that the end waits for the thread, which may be connecting

logger = logging.getLogger("intellicolab.redis")


class Tracked(Protocol):
    """What a tier is to its tracker, whose thread calls it."""

    @property
    def prefixes(self) -> Sequence[str]: ...
    def invalidated(self, keys: Iterable[str]) -> None: ...
    def clear(self) -> None: ...
    def extend(self, until: float) -> None: ...
    def lose(self) -> None: ...
    def start_empty(self) -> None: ...


def shortest(prefixes: Iterable[str]) -> list[str]:
    """Those that no other one is a prefix of: Redis refuses prefixes that overlap."""
    kept: list[str] = []
    for prefix in sorted(prefixes):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return kept


class Tracker:
    """Follows the primaries of the cache role in a thread of its own, for all tiers of this process.

    The thread starts with the first read that a tier wants to keep. A forked child starts its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tiers: weakref.WeakSet[Tracked] = weakref.WeakSet()
        self._follower: _Follower | None = None
        os.register_at_fork(after_in_child=partial(_after_fork, weakref.ref(self)))

    def watch(self, tier: Tracked) -> None:
        """Keep this tier right from now on; the connections are made anew, for its prefixes too."""
        with self._lock:
            self._tiers.add(tier)
            if self._follower is not None:
                self._follower.change()

    def tiers(self) -> list[Tracked]:
        with self._lock:
            return list(self._tiers)

    def start(self) -> None:
        """See to it that the thread runs; returns at once."""
        if self._follower is None:
            self._started()

    def close(self) -> None:
        """End the thread: every tier is empty, and serves nothing until a `start`."""
        with self._lock:
            follower, self._follower = self._follower, None
        if follower is not None:
            follower.end()

    def wait(self, timeout: float) -> bool:
        """Block until all that was written before this call has been taken in; False after `timeout` seconds."""
        return self._started().wait(monotonic(), timeout)

    def _started(self) -> "_Follower":
        with self._lock:
            if self._follower is None:
                self._follower = _Follower(self)
                self._follower.start()
            return self._follower

    def _forked(self) -> None:
        """In the child: the parent's connections are not ours, its thread is gone, and its locks may be held."""
        follower, self._follower = self._follower, None
        self._lock = threading.Lock()
        self._tiers = weakref.WeakSet(list(self._tiers))
        for tier in self._tiers:
            tier.start_empty()
        if follower is not None:
            follower.forked()


def _after_fork(reference: weakref.ref[Tracker]) -> None:
    tracker = reference()
    if tracker is not None:
        tracker._forked()


def _primaries() -> list[Primary]:
    """Raises RedisError. Gives up early: the thread that asks also has to read what it follows."""
    return primaries(Role.CACHE, Purpose.FAST)


class _Follower(threading.Thread):
    """The thread: connects to every primary, hands on what they send, and extends the leases."""

    def __init__(self, tracker: Tracker) -> None:
        super().__init__(name="cache-tracking", daemon=True)
        self._tracker = tracker
        self._link = Link(f"{Role.CACHE} tracking", safe_url(url_of(Role.CACHE)))
        self._ending = threading.Event()
        self._changed = threading.Event()  # the tiers that are followed are not all any more
        self._told = threading.Condition()
        self._known = 0.0  # every write before this has been handed on; 0 while tracking is not on
        self._looked = 0.0  # when those that are followed were last known to be all primaries
        self._next_look = 0.0
        self._wanted = 0.0  # the latest moment that somebody waits to have known
        self._tiers: list[Tracked] = []
        self._feeds: list[Feed] = []
        # A byte on it ends the wait for the feeds.
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)

    def change(self) -> None:
        self._changed.set()
        self._wake()

    def end(self) -> None:
        self._ending.set()
        self._wake()
        self.join(STOP)

    def wait(self, moment: float, timeout: float) -> bool:
        with self._told:
            self._wanted = max(self._wanted, moment)
            self._wake()
            return self._told.wait_for(lambda: self._known >= moment, timeout)

    def forked(self) -> None:
        """Closes the child's copies, which leaves the parent's connections open."""
        for feed in self._feeds:
            feed.close()
        self._close_wake()

    def run(self) -> None:
        try:
            while not self._ending.is_set():
                self._ending.wait(self._attempt())
        finally:
            self._close_wake()

    def _attempt(self) -> float:
        """Follow until something changes or fails; the seconds until the next attempt."""
        self._changed.clear()
        self._tiers = self._tracker.tiers()
        if not self._tiers:
            return RETRY
        try:
            with ExitStack() as stack:
                self._follow(stack)
            return 0.0
        except ResponseError as error:
            self._link.lost(error)
            return REFUSED_RETRY
        except (RedisError, OSError) as error:
            self._link.lost(error)
            return RETRY
        except Exception:  # a fault of ours costs hits for a while, and must not cost the tiers for good
            logger.exception("The local tiers are off for %s s", REFUSED_RETRY)
            return REFUSED_RETRY

    def _follow(self, stack: ExitStack) -> None:
        prefixes = shortest(prefix for tier in self._tiers for prefix in tier.prefixes)
        selector = stack.enter_context(selectors.DefaultSelector())
        selector.register(self._wake_in, selectors.EVENT_READ)
        self._next_look = self._looked = monotonic()
        self._feeds = [Feed(primary, prefixes) for primary in _primaries()]
        for feed in self._feeds:
            stack.enter_context(closing(feed))
            feed.open()
            selector.register(feed.socket, selectors.EVENT_READ, feed)
        stack.callback(self._lose)
        self._link.made()
        while not self._ending.is_set() and not self._changed.is_set():
            self._turn(selector)

    def _turn(self, selector: selectors.BaseSelector) -> None:
        self._look()
        # Who adds a tier and waits for it must not be content with an answer on connections that do not track it yet.
        if self._changed.is_set():
            return
        self._extend(min(self._looked, *(feed.known for feed in self._feeds)))
        for feed in self._feeds:
            feed.beat(self._wanted)
        for feed in self._readable(selector):
            for keys in feed.read():
                self._hand_on(keys)

    def _look(self) -> None:
        """Once in LOOK seconds: are these still all primaries? While nobody says, no lease gets longer."""
        now = monotonic()
        if now < self._next_look and self._looked >= self._wanted:
            return
        try:
            names = {primary.name for primary in _primaries()}
        except (RedisError, OSError):
            if now > self._looked + MAX_STALENESS:
                raise  # they may have changed, and changed back
            self._next_look = now + RETRY
            return
        self._next_look = now + LOOK
        self._looked = now
        if names != {feed.name for feed in self._feeds}:
            logger.info("Redis %s: the primaries have changed", self._link.name)
            self._changed.set()

    def _readable(self, selector: selectors.BaseSelector) -> list[Feed]:
        """The feeds to read now; returns no later than one of them is due."""
        patience = min(self._next_look, *(feed.due for feed in self._feeds)) - monotonic()
        events = selector.select(0 if any(feed.more for feed in self._feeds) else max(patience, 0))
        ready = [key.data for key, _ in events]
        if None in ready:
            self._wake_in.recv(4096)
        return [feed for feed in self._feeds if feed.more or feed in ready]

    def _hand_on(self, keys: list[bytes] | None) -> None:
        if keys is None:
            for tier in self._tiers:
                tier.clear()
            return
        names = [key.decode(errors="replace") for key in keys]
        for tier in self._tiers:
            tier.invalidated(names)

    def _extend(self, known: float) -> None:
        if known <= self._known:
            return
        for tier in self._tiers:
            tier.extend(known + MAX_STALENESS)
        with self._told:
            self._known = known
            self._told.notify_all()

    def _lose(self) -> None:
        for tier in self._tiers:
            tier.lose()
        self._known = 0.0
        self._feeds = []

    def _wake(self) -> None:
        with suppress(OSError):  # full: it wakes anyway; closed: it has ended
            self._wake_out.send(b"!")

    def _close_wake(self) -> None:
        self._wake_in.close()
        self._wake_out.close()


tracker = Tracker()
