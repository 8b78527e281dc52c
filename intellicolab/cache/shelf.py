"""What the cache holds of a thing, and whether it may be served."""

import random
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from intellicolab.redis import keys
from intellicolab.redis.codec import UNREADABLE, decoder_of_many
from intellicolab.redis.scripts import Run

from . import envelope, scripts
from .clock import clock
from .effects import Calls, Fetch, Operation
from .gateway import Gateway
from .place import Place

if TYPE_CHECKING:
    from .declaration import Cached
    from .local import Ticket

V = TypeVar("V")
Tickets = dict[str, "Ticket"]
Found = dict[Any, V | None]


class Shelf(Generic[V]):
    """`refresh_later` is called with a place whose value is served, but had better be loaded anew."""

    def __init__(self, thing: "Cached[V]", gateway: Gateway, refresh_later: Callable[[Place], None]) -> None:
        self._thing = thing
        self._gateway = gateway
        self._statistics = thing.statistics
        self._refresh_later = refresh_later
        self._decode_many = decoder_of_many(thing.codec)

    def look(self, wanted: list[Any], found: Found[V]) -> Operation[list[Place]]:
        """Put what may be served into `found`, in one round trip; the places to be loaded. Raises Away."""
        thing = self._thing
        names = thing.names_of(wanted)
        tickets = self._begin_local(names)
        try:
            if thing.needs_clock and clock.is_due():
                yield from self._learn_time(names[0])
            asked = [*names, *self._tag_names(wanted)] if thing.is_tagged else names
            answers = yield from self._gateway.ask(Fetch(asked))
            stamps = self._stamps_of(wanted, answers[len(names) :])
            return self._sort(wanted, answers, stamps, found, tickets)
        finally:
            self._abandon_local(tickets)

    def sort_plain(self, wanted: list[Any], answers: list[bytes | None], found: Found[V]) -> list[Place]:
        """For things without tags whose values are fresh as long as they are there."""
        missing: list[Place] = []
        try:
            found.update(self._all_plain(wanted, answers))
        except (ValueError, *UNREADABLE):  # one is not there, or not readable: then one by one
            places = (self._plain(key, data, found) for key, data in zip(wanted, answers, strict=True))
            missing += [place for place in places if place is not None]
        self._statistics.hits(len(wanted) - len(missing))
        return missing

    def _all_plain(self, wanted: list[Any], answers: list[Any]) -> Found[V]:
        plain, size = envelope.PLAIN, envelope.SIZE
        values = self._decode_many([data[size:] for data in answers if data is not None and data.startswith(plain)])
        return dict(zip(wanted, values, strict=True))

    def _plain(self, key: Any, data: bytes | None, found: Found[V]) -> Place | None:
        if data is None:
            return self._thing.place(key)
        try:
            found.update(self._all_plain([key], [data]))
        except (ValueError, *UNREADABLE):
            self._statistics.error()
            return self._thing.place(key).saw(data)
        return None

    def peek(self, place: Place) -> Operation[None]:
        """Find out what lies there, to have it replaced."""
        data = (yield from self._gateway.ask(Fetch([place.name])))[0]
        place.saw(data or b"")

    def _learn_time(self, name: str) -> Operation[None]:
        clock.learn(int((yield from self._gateway.ask(Calls([Run(scripts.time, [name])])))[0]))

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
        found: Found[V],
        tickets: Tickets,
    ) -> list[Place]:
        now = clock.now() if self._thing.needs_clock else float("-inf")  # without it, what is there is fresh
        missing = []
        for key, data, own in zip(wanted, answers, stamps, strict=False):  # the stamps of untagged things have no end
            place = self._thing.place(key) if data is None else self._judge(key, data, own, now, found, tickets)
            if place is not None:
                missing.append(place)
        return missing

    def _judge(
        self, key: Any, data: bytes, own: bytes | None, now: float, found: Found[V], tickets: Tickets
    ) -> Place | None:
        """Serve the value, or say what has to be loaded in its place."""
        try:
            opened = envelope.opened(data)
            value = self._thing.codec.decode(opened.payload)
        except (envelope.Damaged, *UNREADABLE):  # written by another version of the application
            self._statistics.error()
            return self._thing.place(key).saw(data)
        if opened.stamps != own:
            return self._thing.place(key).saw(data)
        left = opened.fresh_until - now
        if left <= 0:
            if not self._thing.strategy.beta:
                return self._thing.place(key).saw(data, value, usable=True)
            self._statistics.stale()
            self._refresh_later(self._thing.place(key).saw(data))
        else:
            self._statistics.hit()
            if tickets:
                self._keep_local(key, value, opened, len(data), tickets)
            self._refresh_early(key, data, opened.load_time, left)
        found[key] = value
        return None

    def _refresh_early(self, key: Any, data: bytes, load_time: float, left: float) -> None:
        """XFetch's draw: an exponential variate, scaled by what a load takes, against the time that is left."""
        beta = self._thing.strategy.beta
        if beta and load_time * beta * random.expovariate(1.0) >= left:
            self._statistics.early()
            self._refresh_later(self._thing.place(key).saw(data))

    # --- The local tier ----------------------------------------------------------------------------------------------

    def _begin_local(self, names: list[str]) -> Tickets:
        """Before the remote read, so that an invalidation that overtakes it is noticed."""
        tier = self._thing.tier
        if tier is None:
            return {}
        return {name: ticket for name in names if (ticket := tier.begin(name)) is not None}

    def _keep_local(self, key: Any, value: V | None, opened: envelope.Envelope, size: int, tickets: Tickets) -> None:
        ticket = tickets.pop(self._thing.name_of(key), None)
        if ticket is not None and self._thing.tier is not None:
            depends = [keys.tag(tag) for tag in self._thing.tags_of(key)]
            self._thing.tier.put(ticket, value, size, clock.to_monotonic(opened.fresh_until), depends)

    def _abandon_local(self, tickets: Tickets) -> None:
        for ticket in tickets.values():
            self._thing.tier.abandon(ticket)  # type: ignore[union-attr]


def _packed(stamps: list[bytes | None]) -> bytes | None:
    return None if None in stamps else envelope.packed([int(stamp) for stamp in stamps if stamp is not None])
