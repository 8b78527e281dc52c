"""How a declared thing is read, stored and invalidated, written once for sync and asyncio (`effects.py`).

A miss is a flight: one reader, of all processes, claims it, loads and stores; the others wait for its end or are served
the stale value. A value is stored only while its flight is still the loader's, so an invalidation, which ends the
flight, wins over every load that it overtakes: the lease of Nishtala et al., "Scaling Memcache at Facebook" (NSDI 2013,
section 3.2.1), with the old value left in place. Nothing here raises for Redis: without it, the loader answers.
"""

import logging
import random
import secrets
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from redis.exceptions import RedisError

from intellicolab.redis import keys
from intellicolab.redis.breaker import Breaker
from intellicolab.redis.codec import CodecError
from intellicolab.redis.scripts import Argument

from . import envelope, scripts
from .clock import clock
from .effects import Calls, Fetch, Load, Operation, Pop, Run, Wait
from .flights import AGAIN, flights
from .owed import forgetting, owed, restamping
from .refresher import refresher

if TYPE_CHECKING:
    from .declaration import Cached
    from .local import Ticket

logger = logging.getLogger("intellicolab.cache")

V = TypeVar("V")

ATTEMPTS = 4  # looks at a value that is invalidated again and again; then it is loaded without being stored
RETRY_PAUSE = 1.0  # seconds between two background refreshes of a value whose loader fails

# For a server that hangs, not for one that refuses: that costs no time, and is found again at once.
SLOW = 0.1  # seconds
breaker = Breaker("Cache", "values are read from the database")


class Away(Exception):
    """Redis does not answer; the database has to."""


@dataclass(slots=True, eq=False)
class Place:
    """One key that has to be loaded, or is written: where its value lies, and what is known of it."""

    key: Any
    name: str
    tags: Sequence[str]
    stamps: bytes = b""
    seen: bytes = b""  # header of the value that is there
    value: Any = None
    usable: bool = False  # `value` may be served for lack of a fresh one
    token: str = ""

    def flight(self) -> str:
        return keys.flight(self.name)

    def wake(self) -> str:
        return keys.wake(self.name)


class Engine(Generic[V]):
    """The operations of one declared thing."""

    def __init__(self, thing: "Cached[V]") -> None:
        self._thing = thing
        self._statistics = thing.statistics

    # --- Reading ---------------------------------------------------------------------------------------------------

    def read(self, wanted: Iterable[Any], attempts: int = ATTEMPTS) -> Operation[dict[Any, V | None]]:
        """The values by key: one round trip for all hits, one call of the loader for all that this reader loads."""
        unique = list(dict.fromkeys(wanted))
        found: dict[Any, V | None] = {}
        try:
            if not attempts:
                raise Away
            missing = yield from self._look(unique, found)
            if missing:
                yield from self._fetch(missing, found, attempts)
        except Away:
            left = [key for key in unique if key not in found]
            found.update((yield from self._load(left)))
            self._missed(len(left))
        return found

    def refresh(self, key: Any) -> Operation[V | None]:
        """Load and store, however fresh the value is; together with whoever does so already."""
        place = self._thing.place(key)
        found: dict[Any, V | None] = {}
        try:
            place.seen = ((yield from self._ask(Fetch([place.name])))[0] or b"")[: envelope.SIZE]
            yield from self._fetch([place], found, ATTEMPTS)
        except Away:
            found = yield from self._load([key])
        return found[key]

    def _look(self, wanted: list[Any], found: dict[Any, V | None]) -> Operation[list[Place]]:
        """Put what the cache holds into `found`; the places that have to be loaded. Raises Away."""
        thing = self._thing
        names = [thing.name_of(key) for key in wanted]
        tickets = self._begin_local(names)
        try:
            if thing.needs_clock and clock.is_due():
                yield from self._learn_time(names[0])
            answers = yield from self._ask(Fetch(names if not thing.is_tagged else [*names, *self._tag_names(wanted)]))
            stamps = self._stamps_of(wanted, answers[len(names) :])
            return self._sort(wanted, answers, stamps, found, tickets)
        finally:
            self._abandon_local(tickets)

    def _learn_time(self, name: str) -> Operation[None]:
        clock.learn(int((yield from self._ask(Calls([Run(scripts.time, [name])])))[0]))

    def _tag_names(self, wanted: list[Any]) -> list[str]:
        return [keys.tag(tag) for key in wanted for tag in self._thing.tags_of(key)]

    def _stamps_of(self, wanted: list[Any], answers: list[bytes | None]) -> Iterable[bytes | None]:
        """The present stamps of each key's tags, as envelopes have them; None where one is gone."""
        if not self._thing.is_tagged:
            return repeat(b"")
        rest = iter(answers)
        return [_packed([next(rest) for _ in self._thing.tags_of(key)]) for key in wanted]

    def _sort(
        self,
        wanted: list[Any],
        answers: list[bytes | None],
        stamps: Iterable[bytes | None],
        found: dict[Any, V | None],
        tickets: "dict[Any, Ticket]",
    ) -> list[Place]:
        now = clock.now() if self._thing.needs_clock else float("-inf")
        missing = []
        for key, data, own in zip(wanted, answers, stamps, strict=False):  # the stamps of untagged things have no end
            place = self._thing.place(key) if data is None else self._judge(key, data, own, now, found, tickets)
            if place is not None:
                missing.append(place)
        return missing

    def _judge(
        self,
        key: Any,
        data: bytes,
        own: bytes | None,
        now: float,
        found: dict[Any, V | None],
        tickets: "dict[Any, Ticket]",
    ) -> Place | None:
        """Serve a value, or say what has to be loaded in its place."""
        try:
            opened = envelope.opened(data)
            value = self._thing.codec.decode(opened.payload)
        except (envelope.Damaged, CodecError):  # written by another version of the application
            self._statistics.error()
            return self._outdated(key, data)
        if opened.stamps != own:
            return self._outdated(key, data)
        left = opened.fresh_until - now
        beta = self._thing.strategy.beta
        if left > 0:
            self._statistics.hit()
            if tickets:
                self._keep_local(key, value, opened, len(data), tickets)
            if beta and opened.load_time * beta * random.expovariate(1.0) >= left:
                self._statistics.early()
                self._refresh_later(key, data)
        elif beta:
            self._statistics.stale()
            self._refresh_later(key, data)
        else:
            return self._outdated(key, data, value, usable=True)
        found[key] = value
        return None

    def _outdated(self, key: Any, data: bytes, value: Any = None, usable: bool = False) -> Place:
        place = self._thing.place(key)
        place.seen, place.value, place.usable = envelope.header(data), value, usable
        return place

    # --- Loading ---------------------------------------------------------------------------------------------------

    def _fetch(self, places: list[Place], found: dict[Any, V | None], attempts: int) -> Operation[None]:
        """Load what this reader may, and wait for what others load. Raises Away, and what the loader raises."""
        mine, others, writing, changed = yield from self._claim(places)
        if mine:
            yield from self._fly(mine, found)
        if writing:
            self._missed(len(writing))
            found.update((yield from self._load([place.key for place in writing])))
        for place, token in others:
            yield from self._follow(place, token, found, attempts)
        if changed:
            found.update((yield from self.read([place.key for place in changed], attempts - 1)))

    def _claim(self, places: list[Place]) -> Operation[tuple[list[Place], list[tuple[Place, str]], list, list]]:
        """Try to get the flights: (ours, others' with their tokens, those of writers, values that are there by now)."""
        yield from self._stamp(places)
        for place in places:
            place.token = secrets.token_hex(12)
            flights.begin(place.token)
        mine: list[Place] = []
        others: list[tuple[Place, str]] = []
        writing: list[Place] = []
        changed: list[Place] = []
        try:
            answers = yield from self._ask(Calls([self._claiming(place) for place in places]))
            for place, (state, *token) in zip(places, answers, strict=True):
                if state == b"ours":
                    mine.append(place)
                elif state == b"busy":
                    others.append((place, token[0].decode()))
                else:
                    (writing if state == b"writing" else changed).append(place)
        finally:
            for token in {place.token for place in places} - {place.token for place in mine}:
                flights.land(token)
        return mine, others, writing, changed

    def _claiming(self, place: Place) -> Run:
        lease = round(self._thing.lease * 1000)
        args: list[Argument] = [place.token, lease, place.seen, place.stamps, keys.CACHE_WAKE_TTL]
        return Run(scripts.claim, [place.name, place.flight(), place.wake()], args)

    def _stamp(self, places: list[Place]) -> Operation[None]:
        """The tags' stamps, before anything is loaded: what is invalidated from now on makes the load too old."""
        tags = {tag: None for place in places for tag in place.tags}
        if not tags:
            return
        reads = [Run(scripts.stamp, [keys.tag(tag)], [keys.CACHE_TAG_TTL, 0]) for tag in tags]
        answers = yield from self._ask(Calls(reads))
        stamps = {tag: int(answer) for tag, answer in zip(tags, answers, strict=True)}
        for place in places:
            place.stamps = envelope.packed([stamps[tag] for tag in place.tags])

    def _fly(self, places: list[Place], found: dict[Any, V | None]) -> Operation[None]:
        """Load and store as the holder of these flights. A stale value stands in for a loader that fails."""
        began = time.monotonic()
        try:
            values = yield from self._load([place.key for place in places])
        except BaseException as error:
            yield from self._crash(places, error)
            if not isinstance(error, Exception) or not all(place.usable for place in places):
                raise
            self._serve_stale(places, found)
            return
        took = time.monotonic() - began
        self._missed(len(places))
        for place in places:
            flights.land(place.token, values[place.key])
        found.update(values)
        yield from self.store(places, values, took)

    def store(self, places: list[Place], values: dict[Any, V | None], took: float, writer: bool = False) -> Operation:
        """Store values under their flights' tokens. `took` is the load's time in seconds; a writer loads nothing."""
        if not writer:
            self._statistics.loaded(took)
        try:
            yield from self._ask(Calls([self._storing(place, values[place.key], took, writer) for place in places]))
        except Away:
            if writer:  # what is there is older than what was committed
                owed.add(forgetting(place.name) for place in places)
        if writer:
            self._drop_local([place.name for place in places])

    def _storing(self, place: Place, value: V | None, took: float, writer: bool) -> Run:
        fresh, kept = self._thing.lifetime(value)
        payload = self._thing.codec.encode(value)
        args: list[Argument] = [place.token, fresh, kept, took, place.stamps, len(place.tags), payload]
        args += [keys.CACHE_WAKE_TTL, int(writer)]
        return Run(scripts.store, [place.name, place.flight(), place.wake()], args)

    def _crash(self, places: list[Place], error: BaseException) -> Operation[None]:
        """Give the flights up. Waiters get a loader's error; one reader's cancellation is no concern of theirs."""
        self._statistics.error()
        for place in places:
            if isinstance(error, Exception) and not isinstance(error, CancelledError):
                flights.crash(place.token, error)
            else:
                flights.land(place.token)
        if isinstance(error, GeneratorExit):
            return  # nobody drives this any more; the lease ends by itself
        with suppress(Away):
            yield from self.release(places)

    def release(self, places: Sequence[Place], pause: float = 0.0) -> Operation[None]:
        """End flights without a value; for `pause` seconds nobody may try again. Raises Away."""
        args = [round(pause * 1000), keys.CACHE_WAKE_TTL]
        ends = [Run(scripts.release, [place.flight(), place.wake()], [place.token, *args]) for place in places]
        yield from self._ask(Calls(ends))

    def _load(self, wanted: list[Any]) -> Operation[dict[Any, V | None]]:
        return (yield Load(lambda: self._thing.load(wanted))) if wanted else {}

    # --- Waiting for another's flight --------------------------------------------------------------------------------

    def _follow(self, place: Place, token: str, found: dict[Any, V | None], attempts: int) -> Operation[None]:
        """Serve the stale value, or wait for the flight's end and take its value or look again."""
        if place.usable:
            self._serve_stale([place], found)
            return
        self._statistics.coalesced()
        value = yield from self._wait(place, token)
        if value is AGAIN:
            found.update((yield from self.read([place.key], attempts - 1)))
        else:
            self._missed(1)
            found[place.key] = value

    def _wait(self, place: Place, token: str) -> Operation[Any]:
        future = flights.of(token)
        if future is None:
            future, first = flights.listen(token)
            if first:
                yield from self._listen(place, token)
                return AGAIN
        try:
            return (yield Wait(future, self._thing.lease))
        except TimeoutError:
            return AGAIN

    def _listen(self, place: Place, token: str) -> Operation[None]:
        """Wait for the end of a flight of another process, for all who wait here."""
        try:
            left = (yield from self._ask(Calls([Run(scripts.join, [place.flight()], [token])])))[0]
            if left:
                yield Pop(place.wake(), left / 1000)
        except (RedisError, OSError) as error:
            self._failed(error, took=0.0)
        finally:
            flights.heard(token)

    def _serve_stale(self, places: list[Place], found: dict[Any, V | None]) -> None:
        for place in places:
            self._statistics.stale()
            found[place.key] = place.value

    def _missed(self, count: int) -> None:
        for _ in range(count):
            self._statistics.miss()

    # --- Refreshing in the background --------------------------------------------------------------------------------

    def _refresh_later(self, key: Any, data: bytes) -> None:
        place = self._outdated(key, data)
        refresher.submit(place.name, lambda: self._refresh(place))

    def _refresh(self, place: Place) -> Operation[None]:
        """One process, of those whose readers thought it time, loads and stores."""
        with suppress(Away):
            mine, *_ = yield from self._claim([place])
            if mine:
                yield from self._reload(place)

    def _reload(self, place: Place) -> Operation[None]:
        began = time.monotonic()
        try:
            values = yield from self._load([place.key])
        except Exception:  # whatever the loader met: readers have the stale value for a while
            self._statistics.error()
            logger.exception("%s could not be refreshed; its last value is served meanwhile", place.name)
            flights.land(place.token)
            yield from self.release([place], RETRY_PAUSE)
            return
        flights.land(place.token, values[place.key])
        yield from self.store([place], values, time.monotonic() - began)

    # --- Writing and invalidating ------------------------------------------------------------------------------------

    def claim_write(self, place: Place) -> Operation[bool]:
        """Have loads that run now, and so may see the row as it was, not be stored. Whether Redis took it."""
        place.token = secrets.token_hex(12)
        args: list[Argument] = [place.token, round(self._thing.lease * 1000), keys.CACHE_WAKE_TTL]
        try:
            yield from self._stamp([place])
            yield from self._ask(Calls([Run(scripts.claim_write, [place.flight(), place.wake()], args)]))
        except Away:
            return False
        return True

    def forget(self, names: Sequence[str]) -> Operation[None]:
        """Invalidate values; what an outage prevents is owed."""
        yield from self._surely([forgetting(name) for name in names])
        self._drop_local(names)

    def restamp(self, tag: str) -> Operation[None]:
        """Invalidate all values that have the tag."""
        yield from self._surely([restamping(tag)])
        self._drop_local([keys.tag(tag)])

    def _surely(self, calls: list[Run]) -> Operation[None]:
        try:
            yield from self._ask(Calls(calls))
        except Away:
            owed.add(calls)

    # --- Redis -------------------------------------------------------------------------------------------------------

    def _ask(self, question: Fetch | Calls) -> Operation[list[Any]]:
        """One round trip. Nothing is read while invalidations are owed. Raises Away."""
        if not breaker.ready():
            raise Away
        began = time.monotonic()
        try:
            if owed:
                yield from owed.settle()
            answers = yield question
        except (RedisError, OSError) as error:
            self._failed(error, time.monotonic() - began)
            raise Away from error
        breaker.succeeded()
        return answers

    def _failed(self, error: BaseException, took: float) -> None:
        """By its time, not its name: under asyncio redis-py calls a handshake that timed out a lost connection."""
        if took >= SLOW:
            breaker.failed(error)
        self._statistics.error()

    # --- The local tier ----------------------------------------------------------------------------------------------

    def _begin_local(self, names: list[str]) -> "dict[str, Ticket]":
        """Before the remote read, so that an invalidation that overtakes it is noticed."""
        tier = self._thing.tier
        if tier is None:
            return {}
        return {name: ticket for name in names if (ticket := tier.begin(name)) is not None}

    def _keep_local(
        self, key: Any, value: V | None, opened: envelope.Envelope, size: int, tickets: "dict[str, Ticket]"
    ) -> None:
        ticket = tickets.pop(self._thing.name_of(key), None)
        if ticket is not None and self._thing.tier is not None:
            depends = [keys.tag(tag) for tag in self._thing.tags_of(key)]
            self._thing.tier.put(ticket, value, size, clock.to_monotonic(opened.fresh_until), depends)

    def _drop_local(self, names: Sequence[str]) -> None:
        """Once Redis has answered: what this process reads next is not what it has just changed."""
        if self._thing.tier is not None:
            self._thing.tier.drop(*names)

    def _abandon_local(self, tickets: "dict[str, Ticket]") -> None:
        for ticket in tickets.values():
            self._thing.tier.abandon(ticket)  # type: ignore[union-attr]


def _packed(stamps: list[bytes | None]) -> bytes | None:
    return None if None in stamps else envelope.packed([int(stamp) for stamp in stamps if stamp is not None])
