"""Who loads: claims flights in Redis, flies them, and waits for those of others.

A value is stored only while its flight is still its loader's, so an invalidation, which ends the flight, wins over
every load that it overtakes: the lease of Nishtala et al., "Scaling Memcache at Facebook" (NSDI 2013, section 3.2.1),
with the old value left in place.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from redis.exceptions import RedisError

from intellicolab.redis import keys
from intellicolab.redis.scripts import Argument, Run

from . import envelope, scripts
from .effects import Calls, Load, Operation, Pop, Wait
from .flights import AGAIN, flights
from .gateway import Away, Gateway
from .place import Place

if TYPE_CHECKING:
    from .declaration import Cached

V = TypeVar("V")

# Tokens of the flights that the caller flies, when a loader asks for cached things itself.
_loading: ContextVar[frozenset[str]] = ContextVar("loading", default=frozenset())


class Circular(RuntimeError):
    """A loader asks for the very value that it loads: it would wait for itself."""


@dataclass(slots=True)
class Claims:
    """What became of claims: ours, others' with their tokens, those of writers, and values that are there by now."""

    ours: list[Place] = field(default_factory=list)
    busy: list[tuple[Place, str]] = field(default_factory=list)
    writing: list[Place] = field(default_factory=list)
    changed: list[Place] = field(default_factory=list)

    def sort(self, place: Place, state: bytes, holder: bytes | None = None) -> None:
        match state:
            case b"ours":
                self.ours.append(place)
            case b"busy":
                self.busy.append((place, (holder or b"").decode()))
            case b"writing":
                self.writing.append(place)
            case _:
                self.changed.append(place)


class Crew(Generic[V]):
    def __init__(self, thing: "Cached[V]", gateway: Gateway) -> None:
        self._thing = thing
        self._gateway = gateway
        self._statistics = thing.statistics

    def claim(self, places: list[Place]) -> Operation[Claims]:
        """Raises Away."""
        yield from self.stamp(places)
        for place in places:
            place.token = secrets.token_hex(12)
            flights.begin(place.token)
        claims = Claims()
        try:
            answers = yield from self._gateway.ask(Calls([self._claiming(place) for place in places]))
            for place, answer in zip(places, answers, strict=True):
                claims.sort(place, *answer)
        except BaseException as error:
            yield from self._leave(places, error)  # Redis may have granted them all the same
            raise
        finally:
            for token in {place.token for place in places} - {place.token for place in claims.ours}:
                flights.land(token)
        return claims

    def _claiming(self, place: Place) -> Run:
        args: list[Argument] = [place.token, self.lease, place.seen, place.stamps, keys.CACHE_WAKE_TTL]
        return Run(scripts.claim, [place.name, place.flight, place.wake], args)

    @property
    def lease(self) -> int:
        """Milliseconds."""
        return round(self._thing.lease * 1000)

    def stamp(self, places: list[Place]) -> Operation[None]:
        """The tags' stamps, before anything is loaded: what is invalidated from now on makes the load too old."""
        tags = list(dict.fromkeys(tag for place in places for tag in place.tags))
        if not tags:
            return
        reads = [Run(scripts.stamp, [keys.tag(tag)], [keys.CACHE_TAG_TTL, 0]) for tag in tags]
        answers = yield from self._gateway.ask(Calls(reads))
        stamps = {tag: int(answer) for tag, answer in zip(tags, answers, strict=True)}
        for place in places:
            place.stamps = envelope.packed([stamps[tag] for tag in place.tags])

    def fly(self, places: list[Place], pause: float = 0.0) -> Operation[dict[Any, V | None]]:
        """Load and store as the holder of these flights.

        Raises what the loader raises. Then the flights are given up, and `pause` seconds long nobody may try again.
        """
        loading = partial(self._loaded, [place.key for place in places], [place.token for place in places])
        try:
            values, took = yield Load(loading)
            storing = self._storings(places, values, took)  # what cannot be encoded is the loader's error, too
        except BaseException as error:
            yield from self._crash(places, error, pause)
            raise
        for place in places:
            flights.land(place.token, values[place.key])
        self._statistics.loaded(took)
        try:
            with suppress(Away):
                yield from self._gateway.ask(storing)
        except BaseException as error:
            yield from self._leave(places, error)
            raise
        return values

    def store(self, places: list[Place], values: dict[Any, V | None], took: float, writer: bool = False) -> Operation:
        """Store values under their flights' tokens. `took` is the load's time in seconds. Raises Away."""
        yield from self._gateway.ask(self._storings(places, values, took, writer))

    def _storings(self, places: list[Place], values: dict[Any, V | None], took: float, writer: bool = False) -> Calls:
        return Calls([self._storing(place, values[place.key], took, writer) for place in places])

    def _storing(self, place: Place, value: V | None, took: float, writer: bool) -> Run:
        fresh, kept = self._thing.lifetime(value)
        payload = self._thing.codec.encode(value)
        args: list[Argument] = [place.token, fresh, kept, took, place.stamps, len(place.tags), payload]
        args += [keys.CACHE_WAKE_TTL, int(writer)]
        return Run(scripts.store, [place.name, place.flight, place.wake], args)

    def _crash(self, places: list[Place], error: BaseException, pause: float) -> Operation[None]:
        """Give the flights up. Waiters get a loader's error; one reader's cancellation is no concern of theirs."""
        self._statistics.error()
        for place in places:
            if isinstance(error, Exception) and not isinstance(error, CancelledError):
                flights.crash(place.token, error)
            else:
                flights.land(place.token)
        yield from self._leave(places, error, pause)

    def _leave(self, places: list[Place], error: BaseException, pause: float = 0.0) -> Operation[None]:
        """The holder of these flights goes: nobody shall wait for their leases to end."""
        if isinstance(error, GeneratorExit | Away):
            return  # nobody drives this any more, or nobody answers; the leases end by themselves
        with suppress(Away):
            yield from self.release(places, pause)

    def release(self, places: Sequence[Place], pause: float = 0.0) -> Operation[None]:
        """End flights without a value; for `pause` seconds nobody may try again. Raises Away."""
        args = [round(pause * 1000), keys.CACHE_WAKE_TTL]
        ends = [Run(scripts.release, [place.flight, place.wake], [place.token, *args]) for place in places]
        yield from self._gateway.ask(Calls(ends))

    def load(self, wanted: list[Any]) -> Operation[dict[Any, V | None]]:
        """From the database, past the cache."""
        return (yield Load(partial(self._thing.load, wanted))) if wanted else {}

    def _loaded(self, wanted: list[Any], tokens: Sequence[str]) -> tuple[dict[Any, V | None], float]:
        """The values, and the seconds that the loader took: not those that it waited for a thread, of which an early
        refresh would be drawn the sooner the busier the process is."""
        for token in tokens:
            flights.take_off(token)
        outer = _loading.set(_loading.get().union(tokens))
        began = time.monotonic()
        try:
            return self._thing.load(wanted), time.monotonic() - began
        finally:
            _loading.reset(outer)

    def wait(self, place: Place, token: str, look: Callable[[], Operation[Any]]) -> Operation[Any]:
        """The value of another's flight, or AGAIN when one has to look.

        For all in this process who wait for a flight of another one, one listens for its end and calls `look`, which
        finds the value or AGAIN. Raises what the flight's loader raised in this process, and Circular.
        """
        if token in _loading.get():
            raise Circular(f"The loader of {place.name} asks for what it is loading.")
        future = flights.of(token)
        if future is None:
            future, first = flights.listen(token)
            if first:
                return (yield from self._look_for_all(place, token, future, look))
        try:
            return (yield Wait(future, self._thing.lease))
        except TimeoutError:
            if future.done() and isinstance(future.exception(), TimeoutError):
                raise  # the loader's own
            return AGAIN

    def _look_for_all(
        self, place: Place, token: str, future: "Future[Any]", look: Callable[[], Operation[Any]]
    ) -> Operation[Any]:
        value: Any = AGAIN
        try:
            yield from self._listen(place, token)
            value = yield from look()  # sent when all who take its answer had begun, so none gets an older value
        finally:
            future.set_result(value)
        return value

    def _listen(self, place: Place, token: str) -> Operation[None]:
        """Wait for the end of a flight of another process."""
        try:
            left = (yield from self._gateway.ask(Calls([Run(scripts.join, [place.flight], [token])])))[0]
            if left:
                yield Pop(place.wake, left / 1000)
        except (RedisError, OSError) as error:
            self._gateway.failed(error, took=0.0)
        finally:
            flights.heard(token)
