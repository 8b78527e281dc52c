"""The operations of a declared thing, written once for sync and asyncio (`effects.py`).

A miss is a flight: one reader, of all processes, claims it, loads and stores; the others wait for its end or are served
the stale value. Nothing here raises for Redis: without it, the loader answers.
"""

import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from intellicolab.redis import keys
from intellicolab.redis.scripts import Argument, Run

from . import scripts
from .crew import Claims, Crew
from .effects import Calls, Operation
from .flights import AGAIN
from .gateway import Away, Gateway
from .owed import forgetting, owed, restamping
from .place import Place
from .refresher import refresher
from .shelf import Found, Shelf
from .tracking import tracker

if TYPE_CHECKING:
    from .declaration import Cached

logger = logging.getLogger("intellicolab.cache")

V = TypeVar("V")

ATTEMPTS = 4  # looks at a value that is invalidated again and again; then it is loaded without being stored
RETRY_PAUSE = 1.0  # seconds between two background refreshes of a value whose loader fails


class Engine(Generic[V]):
    def __init__(self, thing: "Cached[V]") -> None:
        self._thing = thing
        self._statistics = thing.statistics
        self._gateway = Gateway(thing.statistics)
        self._shelf: Shelf[V] = Shelf(thing, self._gateway, self._refresh_later)
        self._crew: Crew[V] = Crew(thing, self._gateway)
        self._is_plain = not (thing.is_tagged or thing.needs_clock)

    # --- Reading ---------------------------------------------------------------------------------------------------

    def read(self, wanted: list[Any], attempts: int = ATTEMPTS) -> Operation[Found[V]]:
        """The values by key: one round trip for all hits, one call of the loader for all that this reader loads."""
        found: Found[V] = {}
        try:
            missing = yield from self._shelf.look(wanted, found)
        except Away:
            yield from self._bypass(wanted, found)
            return found
        return (yield from self.complete(missing, found, attempts))

    def complete(self, missing: list[Place], found: Found[V], attempts: int = ATTEMPTS) -> Operation[Found[V]]:
        """`found` with what is missing in it."""
        try:
            if not attempts:
                raise Away
            yield from self._fetch(missing, found, attempts)
        except Away:
            yield from self._bypass([place.key for place in missing if place.key not in found], found)
        return found

    def quick(self, wanted: list[Any]) -> tuple[Found[V], list[Place]] | None:
        """What a plain call finds, and what is missing. None where only `read` will do."""
        if not self._is_plain:
            return None
        answers = self._gateway.fetch(self._thing.names_of(wanted))
        return None if answers is None else self._sorted(wanted, answers)

    async def aquick(self, wanted: list[Any]) -> tuple[Found[V], list[Place]] | None:
        if not self._is_plain:
            return None
        answers = await self._gateway.afetch(self._thing.names_of(wanted))
        return None if answers is None else self._sorted(wanted, answers)

    def _sorted(self, wanted: list[Any], answers: list[Any]) -> tuple[Found[V], list[Place]]:
        found: Found[V] = {}
        return found, self._shelf.sort_plain(wanted, answers, found)

    def refresh(self, key: Any) -> Operation[V | None]:
        """Load and store, however fresh the value is; together with whoever does so already."""
        place = self._thing.place(key)
        found: Found[V] = {}
        try:
            yield from self._shelf.peek(place)
            yield from self._fetch([place], found, ATTEMPTS)
        except Away:
            yield from self._bypass([key], found)
        return found[key]

    def _fetch(self, places: list[Place], found: Found[V], attempts: int) -> Operation[None]:
        """Load what this reader may, and wait for what others load. Raises Away, and what the loader raises."""
        if not places:
            return
        claims = yield from self._crew.claim(places)
        missed = {place.key for place in places}  # but for those that another look or a stale value serves
        try:
            yield from self._gather(claims, found, attempts, missed)
        except Away:
            missed &= found.keys()  # the others are counted where they are loaded then
            raise
        finally:
            self._missed(len(missed))

    def _gather(self, claims: Claims, found: Found[V], attempts: int, missed: set[Any]) -> Operation[None]:
        if claims.ours:
            yield from self._fly(claims, found, missed)
        found.update((yield from self._crew.load([place.key for place in claims.writing])))
        for place, token in claims.busy:
            yield from self._follow(place, token, found, attempts, missed)
        again = [place.key for place in claims.changed]
        if again:
            missed.difference_update(again)
            found.update((yield from self.read(again, attempts - 1)))

    def _fly(self, claims: Claims, found: Found[V], missed: set[Any]) -> Operation[None]:
        """Stale values stand in for a loader that fails."""
        try:
            found.update((yield from self._crew.fly(claims.ours)))
        except Exception:
            if not all(place.usable for place in claims.ours):
                raise
            self._serve_stale(claims.ours, found, missed)

    def _follow(self, place: Place, token: str, found: Found[V], attempts: int, missed: set[Any]) -> Operation[None]:
        """Serve the stale value, or wait for the flight's end and take its value or look again."""
        if place.usable:
            self._serve_stale([place], found, missed)
            return

        def look() -> Operation[Any]:
            seen: Found[V] = {}
            missed.discard(place.key)  # it is counted where it is found
            yield from self._shelf.look([place.key], seen)
            return seen.get(place.key, AGAIN)

        self._statistics.coalesced()
        value = yield from self._crew.wait(place, token, look)
        if value is AGAIN:
            missed.discard(place.key)
            found.update((yield from self.read([place.key], attempts - 1)))
        else:
            found[place.key] = value

    def _bypass(self, wanted: list[Any], found: Found[V]) -> Operation[None]:
        """From the database, without storing: Redis is away."""
        self._missed(len(wanted))
        found.update((yield from self._crew.load(wanted)))

    def _serve_stale(self, places: list[Place], found: Found[V], missed: set[Any]) -> None:
        for place in places:
            missed.discard(place.key)
            self._statistics.stale()
            found[place.key] = place.value

    def _missed(self, count: int) -> None:
        for _ in range(count):
            self._statistics.miss()

    # --- Refreshing in the background --------------------------------------------------------------------------------

    def _refresh_later(self, place: Place) -> None:
        refresher.submit(place.name, lambda: self._refresh(place))

    def _refresh(self, place: Place) -> Operation[None]:
        """One process, of those whose readers thought it time, loads and stores."""
        with suppress(Away):
            claims = yield from self._crew.claim([place])
            if claims.ours:
                yield from self._reload(place)

    def _reload(self, place: Place) -> Operation[None]:
        try:
            yield from self._crew.fly([place], pause=RETRY_PAUSE)
        except Exception:  # whatever the loader met: readers have the stale value for a while
            logger.exception("%s could not be refreshed; its last value is served meanwhile", place.name)

    # --- Writing and invalidating ------------------------------------------------------------------------------------

    def claim_write(self, place: Place) -> Operation[bool]:
        """Have loads that run now, and so may see the row as it was, not be stored. Whether Redis took it."""
        place.token = secrets.token_hex(12)
        arguments: list[Argument] = [place.token, self._crew.lease, keys.CACHE_WAKE_TTL]
        claim = Run(scripts.claim_write, [place.name, place.flight, place.wake], arguments)
        try:
            yield from self._crew.stamp([place])
            yield from self._gateway.ask(Calls([claim]))
        except Away:
            return False
        return True

    def put(self, place: Place, value: V) -> Operation[None]:
        """Store what was written under a claim; what is there is older, so it goes where that cannot be done."""
        try:
            yield from self._crew.store([place], {place.key: value}, took=0.0, writer=True)
        except Away:
            owed.add([forgetting(place.name)])
        self._drop_local([place.name])

    def give_up(self, place: Place) -> Operation[None]:
        """Nothing was written: what is there stays."""
        with suppress(Away):  # the claim ends by itself, and meanwhile readers load for themselves
            yield from self._crew.release([place])

    def forget(self, names: Sequence[str]) -> Operation[None]:
        """Invalidate values; what an outage prevents is owed."""
        yield from self._surely([forgetting(name) for name in names])
        self._drop_local(names)

    def restamp(self, tag: str) -> Operation[None]:
        """Invalidate all values that have the tag."""
        yield from self._surely([restamping(tag)])
        for tier in tracker.tiers():  # other things of this process may have the tag
            tier.invalidated([keys.tag(tag)])

    def _surely(self, calls: list[Run]) -> Operation[None]:
        try:
            yield from self._gateway.ask(Calls(calls))
        except Away:
            owed.add(calls)

    def _drop_local(self, names: Sequence[str]) -> None:
        """Once Redis has answered: what this process reads next is not what it has just changed."""
        if self._thing.tier is not None:
            self._thing.tier.drop(*names)
