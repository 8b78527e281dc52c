"""The policies that hold now, in every process: a change is live within a second, without a query a request.

Whoever asks first in half a second looks at the stamp in Redis that each change sets anew, after its commit; only when
it is another one, the rows are read. While Redis is away, they are read each time. A change whose stamp was lost is
found when the rows are read anyway, which they are every ten seconds.
"""

import asyncio
import logging
import secrets
import threading
import time
from typing import Any, cast

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import Error as DatabaseFault
from django.db import connections, transaction
from django.db.models import Q
from django.utils import timezone
from redis.exceptions import RedisError

from intellicolab.redis import keys
from intellicolab.redis.breaker import Breaker
from intellicolab.redis.client import Purpose, Role, client

from . import validation
from .exemptions import Exemptions
from .models import Exemption, Policy
from .policies import LivePolicy, Policies

logger = logging.getLogger("ratelimit")

# Not the limiter's: on a Cluster the stamp's node may be away alone.
breaker = Breaker("Limit policies", "they are read from the database twice a second")

LOOK_SECONDS = 0.5  # between two looks at the stamp
OLDEST_SECONDS = 0.9  # what was not looked at for so long is not used: a change is live within a second
READ_SECONDS = 10.0  # between two readings of the rows, at the latest


class Book:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """As if nobody had asked yet."""
        self._policies = Policies()
        self._stamp: bytes | None = None  # not known
        self._looked = self._read = -READ_SECONDS
        self._looking: dict[asyncio.AbstractEventLoop, asyncio.Future[None]] = {}

    def expire(self) -> None:
        """Have the rows read anew for the next one who asks."""
        self._looked = self._read = -READ_SECONDS

    @property
    def is_recent(self) -> bool:
        """Whether a change made a second ago is known here."""
        return time.monotonic() - self._looked < OLDEST_SECONDS

    def peek(self) -> Policies:
        """Those known so far; never waits."""
        return self._policies

    def policies(self) -> Policies:
        """Those of now. One caller looks, and the others go on with what is known unless that is too old."""
        age = time.monotonic() - self._looked
        # A database that takes long must not make requests queue here one behind another.
        if age >= LOOK_SECONDS and self._lock.acquire(timeout=OLDEST_SECONDS if age >= OLDEST_SECONDS else 0):
            try:
                if time.monotonic() - self._looked >= LOOK_SECONDS:  # the one before has not looked meanwhile
                    self._look()
            finally:
                self._lock.release()
        return self._policies

    async def apolicies(self) -> Policies:
        """As `policies`, on the running event loop: a thread looks."""
        looking = self.look_soon()
        if looking is not None and not self.is_recent:
            await asyncio.shield(looking)
        return self._policies

    def look_soon(self) -> "asyncio.Future[None] | None":
        """Have a thread look, if it is time; the running loop's one look."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return None
        loop = asyncio.get_running_loop()
        if loop not in self._looking:
            looking = self._looking[loop] = asyncio.ensure_future(asyncio.to_thread(self._look_in_thread))
            looking.add_done_callback(lambda _: self._looking.pop(loop, None))
        return self._looking[loop]

    def _look_in_thread(self) -> None:
        try:
            self.policies()
        finally:
            connections.close_all()  # of a thread that may never come again

    def _look(self) -> None:
        began = time.monotonic()
        if not settings.RATELIMIT_ENABLED:
            self.forget()
            self._looked = began
            return
        stamp = _stamp()
        if stamp is None or stamp != self._stamp or began - self._read >= READ_SECONDS:
            self._reread(stamp, began)
        # After a look that took long, the next one is due at once; but until then what is known is good enough.
        self._looked = max(began, time.monotonic() - LOOK_SECONDS)

    def _reread(self, stamp: bytes | None, began: float) -> None:
        try:
            policies = _from_rows()
        except DatabaseFault as error:
            logger.warning("The policies could not be read (%s); those known so far hold.", error)
            return
        self._read = began
        if stamp not in (None, self._stamp) or policies.source != self._policies.source:
            self._policies = policies  # and forget the refusals that went with the others
        if stamp is not None:
            self._stamp = stamp


book = Book()


def changed() -> None:
    """Have all processes read the policies anew once the running transaction has committed, and forget refusals."""
    transaction.on_commit(_tell)


def _tell() -> None:
    try:
        client(Role.STATE).set(keys.limits_stamp(), secrets.token_hex(8), ex=keys.LIMITS_STAMP_TTL)
    except (RedisError, OSError) as error:
        logger.warning("A change of policies was not told (%s); all know it within %.0f s.", error, READ_SECONDS)
    book.expire()


def _stamp() -> bytes | None:
    """None when Redis does not answer."""
    if not breaker.ready():
        return None
    try:
        stamp = cast(bytes | None, client(Role.STATE, Purpose.FAST).get(keys.limits_stamp()))
    except (RedisError, OSError) as error:
        breaker.failed(error)
        return None
    breaker.succeeded()
    return stamp or b""


def _from_rows() -> Policies:
    valid = Q(ends_at=None) | Q(ends_at__gt=timezone.now())
    rows = list(Policy.objects.exclude(mode=Policy.Mode.OFF).select_related("group"))
    listed = list(Exemption.objects.filter(valid).order_by("pk"))
    source = (*map(_contents, rows), *map(_contents, listed))
    return Policies(_live(rows), Exemptions(row for row in listed if _is_valid(row)), source)


def _is_valid(row: Exemption) -> bool:
    """A row that was not made in the admin may hold anything."""
    try:
        row.clean()
        validation.network(row.network or "0.0.0.0/32", denied=False)
    except ValidationError as error:
        logger.error("The exemption %s is left out: %s", row.pk, "; ".join(error.messages))
        return False
    return True


def _contents(row: Policy | Exemption) -> tuple[Any, ...]:
    group = row.group.name if isinstance(row, Policy) and row.group else ""
    return type(row), group, *(getattr(row, field.attname) for field in row._meta.concrete_fields)


def _live(rows: list[Policy]) -> list[tuple[str, LivePolicy]]:
    found = []
    for row in rows:
        try:
            found.append((row.subject, LivePolicy.of(row)))
        except ValueError as error:
            logger.error("The policy %s is left out: %s", row.name, error)
    return found
