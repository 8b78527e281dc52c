"""The relay: of all workers the one that holds the lock moves the outbox to the streams.

It works in two steps, of which each can be repeated. First it numbers the rows that wait, in a transaction that its
fencing number guards: the position of an entry is decided in the database, and decided once. Then it appends to each
stream the rows that lie above the stream's last entry. A relay that died between the two, an answer that was lost and
a server that forgot its newest entries are thereby one and the same case: the stream ends earlier than the rows do,
and what lies above is appended, at the same positions. Rows are kept for a while for that.
"""

import logging
import threading
import time
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone

from intellicolab.cache.models import Fence
from intellicolab.redis.lock import Grant, Lock
from intellicolab.redis.sole import SoleService

from .carriers import all_streams, carrier_of
from .models import DeadLetter, HandledEvent, OutboxRow
from .outbox import NumberedRow
from .signals import listen
from .streams import EntriesLost
from .waking import OutboxFilled

logger = logging.getLogger("intellicolab.events")

NAME = "relay"
LEASE = 15.0  # seconds until another worker takes over from one that was killed
BATCH = 500  # rows that are numbered in one transaction, and appended in one script
LOOK_SECONDS = 1.0  # between two comparisons of the streams with the rows: how late a loss in Redis is noticed
REMEMBERED = timedelta(days=7)  # that an event was handled: far longer than it may come again
PRUNE_SECONDS = 60.0
PACE = 0.02  # seconds from one round to the next: each takes a turn at the database from those who post
SWEEP_SECONDS = 10.0

lock = Lock(NAME, lease=LEASE, wait=2.0, purpose="the outbox's relay")


class Relay(SoleService):
    """Woken by each commit that wrote to the outbox of any process; without the signal it looks once a second."""

    title = "Events: the relay"

    def __init__(self) -> None:
        super().__init__(lock)
        self._news = threading.Event()
        self._numbers: dict[str, int] = {}  # streams by the last position that was given
        self._ends: dict[str, int] = {}  # streams by the position of their last entry, as far as is known
        self._look_at = self._prune_at = self._sweep_at = 0.0
        self._began = 0.0

    def start(self) -> None:
        _running.add(self)
        super().start()

    def stop(self) -> None:
        self._stop.set()
        self._news.set()
        super().stop()
        _running.discard(self)

    def wake(self) -> None:
        self._news.set()

    def begin(self) -> None:
        self._numbers.clear()
        self._ends.clear()
        self._look_at = 0.0

    def rest(self) -> None:
        """News that comes after a while of quiet is taken at once, a stream of it in batches."""
        self._stop.wait(self._began + PACE - time.monotonic())
        self._news.wait(self.interval)

    def round(self, grant: Grant) -> None:
        self._began = time.monotonic()
        self._news.clear()  # before the look: who commits from here on wakes the next round
        touched, problem = self._number(grant), None
        if time.monotonic() >= self._look_at:
            touched |= self._known_streams()
        for stream in sorted(touched):
            try:
                self._carry(stream, grant)
            except Exception as error:  # told when the other streams have had their turn
                problem = error
        self._sweep()
        self._prune()
        if problem is not None:
            raise problem

    # --- Numbering -------------------------------------------------------------------------------------------------

    def _number(self, grant: Grant) -> set[str]:
        """Give a batch of those that wait their positions; the streams that got some."""
        waiting = _waiting()
        if len(waiting) == BATCH:
            self._news.set()  # there may be more
        try:
            if waiting:
                self._number_batch(waiting, grant)
        except BaseException:
            self._numbers.clear()  # perhaps it has committed, perhaps not
            raise
        return {stream for _pk, stream in waiting}

    def _number_batch(self, waiting: list[tuple[int, str]], grant: Grant) -> None:
        now = connection.ops.adapt_datetimefield_value(timezone.now())
        places = [(self._next(stream), now, pk) for pk, stream in waiting]
        with transaction.atomic():
            Fence.advance(NAME, grant.fence)
            _write(places)

    def _next(self, stream: str) -> int:
        """Above what the database has given, and above what lies in Redis: one of them may be from a backup."""
        last = self._numbers.get(stream)
        if last is None:
            last = max(_newest(stream), carrier_of(stream).last_position(stream))
        self._numbers[stream] = last + 1
        return last + 1

    # --- Carrying --------------------------------------------------------------------------------------------------

    def _known_streams(self) -> set[str]:
        """All of them, so that what Redis has lost is found without news, too."""
        self._look_at = time.monotonic() + LOOK_SECONDS
        self._ends.clear()
        return {*all_streams(), *self._numbers}

    def _carry(self, stream: str, grant: Grant) -> None:
        """Append what the stream does not have yet. Raises StaleFence, StreamFull, RedisError."""
        carrier = carrier_of(stream)
        if stream not in self._ends:
            self._ends[stream] = carrier.last_position(stream)
        while rows := _above(stream, self._ends[stream]):
            grant.check()
            try:
                self._ends[stream] = carrier.append(stream, rows, self._ends[stream], grant.fence)
            except EntriesLost as lost:
                logger.warning("Redis has lost the newest entries of %s: those above %d go again", stream, lost.last)
                self._ends[stream] = lost.last
            else:
                if len(rows) < BATCH:
                    break  # nobody else gives numbers

    # --- Clearing up -----------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Also of a stream that is full, or it would stay so."""
        if time.monotonic() < self._sweep_at:
            return
        self._sweep_at = time.monotonic() + SWEEP_SECONDS
        for stream in self._ends:
            carrier_of(stream).sweep(stream)

    def _prune(self) -> None:
        if time.monotonic() < self._prune_at:
            return
        self._prune_at = time.monotonic() + PRUNE_SECONDS
        for stream, end in self._ends.items():
            while _delete_old(stream, end) == BATCH:
                pass
        # An attempt whose outcome nobody knows is remembered for as long as its dead letter waits for a decision.
        HandledEvent.objects.filter(done=True, at__lt=timezone.now() - REMEMBERED).delete()


_running: set[Relay] = set()
_NUMBER = f'UPDATE "{OutboxRow._meta.db_table}" SET "position" = %s, "numbered_at" = %s WHERE "id" = %s'  # noqa: S608
_NUMBER_ALL = (
    f'UPDATE "{OutboxRow._meta.db_table}" AS o SET "position" = n."position", "numbered_at" = %s '  # noqa: S608
    'FROM unnest(%s::bigint[], %s::bigint[]) AS n("id", "position") WHERE o."id" = n."id"'
)


@listen(OutboxFilled.name)
def wake(_event: OutboxFilled) -> None:
    for relay in tuple(_running):
        relay.wake()


def _write(places: list[tuple[int, Any, int]]) -> None:
    """(position, time, row): by hand, since `bulk_update` would write one long CASE."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # for which a statement a row takes five times as long
            positions, times, rows = zip(*places, strict=True)
            cursor.execute(_NUMBER_ALL, [times[0], list(rows), list(positions)])
        else:
            cursor.executemany(_NUMBER, places)


def _waiting() -> list[tuple[int, str]]:
    """Of the streams that are known here: what another version of the code has written waits for one that knows it."""
    rows = OutboxRow.objects.filter(position=None, stream__in=all_streams()).order_by("id")
    return list(rows.values_list("id", "stream")[:BATCH])


def _newest(stream: str) -> int:
    """The rows may have gone, and Redis may have forgotten; but no two dead letters of a group have one position."""
    of_all = [rows.objects.filter(stream=stream).aggregate(newest=Max("position")) for rows in (OutboxRow, DeadLetter)]
    return max(found["newest"] or 0 for found in of_all)


def _above(stream: str, position: int) -> list[NumberedRow]:
    rows = OutboxRow.objects.filter(stream=stream, position__gt=position).order_by("position")
    return list(map(NumberedRow._make, rows.values_list(*NumberedRow._fields)[:BATCH]))


def _delete_old(stream: str, end: int) -> int:
    """Rows that Redis has had for long enough, a batch of them; how many."""
    rows = OutboxRow.objects.filter(stream=stream)
    first = rows.filter(position__lte=end).order_by("position").values_list("position", "numbered_at")[:BATCH]
    earliest = timezone.now() - carrier_of(stream).kept
    old = [position for position, at in first if at is None or at < earliest]
    if old:
        rows.filter(position__lte=old[-1]).delete()
    return len(old)
