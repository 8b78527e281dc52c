"""What a cached thing is: declared once, with its namespace, key, time to live, loader, codec and strategy.

    profiles = Cached("profile", "{user_id}", load_profile, ttl=600, type=Profile, strategy=CacheAside())
    profiles.get(5)

A declaration that cannot work does not raise at import: the system check (`checks.py`) reports all of them together.
"""

import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar, Union

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connections, transaction

from intellicolab.redis import keys
from intellicolab.redis.codec import JSON, Codec
from intellicolab.threads import run as run_in_thread

from .effects import adrive, drive
from .engine import Engine
from .local import MISSING, LocalTier
from .place import Place
from .statistics import Statistics
from .strategies import Buffered, CacheAside, Strategy
from .template import arguments_of, compile_template
from .validation import parameters_of, problems_of

V = TypeVar("V")

JITTER = 0.1  # values stored together do not all expire together
NONE_TTL = 30.0  # seconds; what is not there now is often made soon
LEASE = 5.0  # seconds that a loader may take; then another reader may try


class _Here(threading.local):
    """This thread's database connection: looking it up anew costs more than a local hit."""

    def __init__(self) -> None:
        self.connection = connections[DEFAULT_DB_ALIAS]


_here = _Here()


def after_commit(action: Callable[[], None]) -> None:
    """Now, where no transaction runs: Django's `on_commit` would open a connection to find that out."""
    if _here.connection.in_atomic_block:
        transaction.on_commit(action)
    else:
        action()


class Cached(Generic[V]):
    """One kind of cached thing.

    `key` is a template of the loader's parameters, such as "{room_id}:{user_id}". `loader` takes them and returns the
    value, or None for what does not exist, which is cached too, for `none_ttl`. `many`, if given, loads several at
    once: it takes a list of keys (an argument, or a tuple of them) and returns those it found. `ttl`, `none_ttl` and
    `lease` are in seconds; up to the share `jitter` is taken off a time to live. `tags` are templates as well:
    invalidating a tag invalidates all values that have it. `local`, (entries, bytes), keeps the hottest in this
    process, too.

    Inside a transaction reads pass the cache by: a transaction sees its own uncommitted rows, which others must not
    get, and may see older rows than the cache holds. Invalidations inside one wait for its commit.
    """

    declared: ClassVar[list["Cached[Any]"]] = []

    def __init__(
        self,
        namespace: str,
        key: str,
        loader: Callable[..., V | None],
        *,
        ttl: float | None = None,
        type: Any = Any,
        strategy: Strategy | None = None,
        many: Callable[[Sequence[Any]], Mapping[Any, V]] | None = None,
        codec: Codec[V | None] | None = None,
        tags: Sequence[str] = (),
        none_ttl: float = NONE_TTL,
        jitter: float = JITTER,
        lease: float = LEASE,
        local: tuple[int, int] | None = None,
    ) -> None:
        self.namespace = namespace
        self.key = key
        self.ttl = ttl if ttl is not None else 0.0
        self.none_ttl = none_ttl
        self.jitter = jitter
        self.lease = lease
        self.strategy = strategy if strategy is not None else CacheAside()
        self.type, self.local = type, local
        self.loader, self.many = loader, many
        self.tag_templates = tags
        self.parameters = parameters_of(loader)
        self.custom_codec = codec
        self._compile()
        Cached.declared.append(self)

    # --- Sync ------------------------------------------------------------------------------------------------------

    def get(self, *arguments: Any) -> V | None:
        """The value. Raises what the loader raises; never anything of Redis's."""
        key = self._key_of(arguments)
        if self._buffered is not None or _here.connection.in_atomic_block:
            return self._behind_or_past([key])[key]
        if self.tier is not None:
            value = self.tier.get(self._name(*arguments))
            if value is not MISSING:
                self.statistics.local()
                return value
        return self._read([key])[key]

    def get_many(self, wanted: Iterable[Any]) -> dict[Any, V | None]:
        """The values by key, one round trip for all hits and, with `many`, one call of the loader for all misses."""
        unique = list(dict.fromkeys(wanted))
        if self._buffered is not None or _here.connection.in_atomic_block:
            return self._behind_or_past(unique)
        found, left = self._from_tier(unique)
        return {**found, **self._read(left)} if left else found

    def set(self, *arguments: Any, value: V) -> V:
        """Store a value; with write-through in the database first. Cached after the commit, if there is one.

        With write-behind it lies in Redis when this returns, also for a transaction that is rolled back later.
        """
        if self._buffered is not None:
            self._buffered.set(self._key_of(arguments), value)
            return value
        place = self.place(self._key_of(arguments))
        if self.strategy.writer is not None:
            return self._write(place, arguments, value)
        self.codec.encode(value)  # or nothing is claimed
        after_commit(partial(self._put, place, value, drive(self._engine.claim_write(place))))
        return value

    def add(self, *arguments: Any, amount: int = 1) -> None:
        """Add to a sum; only with `WriteBehindSum`, and counted exactly once, whatever dies."""
        self._sums().add(self._key_of(arguments), amount)

    def invalidate(self, *arguments: Any) -> None:
        """Have the next reader load; after the commit, if there is a transaction."""
        self.invalidate_many([self._key_of(arguments)])

    def invalidate_many(self, unwanted: Iterable[Any]) -> None:
        names = [self.name_of(key) for key in unwanted]
        after_commit(lambda: drive(self._engine.forget(names)))

    def forget_now(self, unwanted: Iterable[Any]) -> None:
        """As `invalidate_many`, not waiting for a commit: for who has just committed."""
        drive(self._engine.forget([self.name_of(key) for key in unwanted]))

    def invalidate_tag(self, template: str, **arguments: Any) -> None:
        """As `invalidate`, for all values with a tag: `invalidate_tag("team:{team_id}", team_id=5)`."""
        tag = self.tag(template, **arguments)
        after_commit(lambda: drive(self._engine.restamp(tag)))

    def refresh(self, *arguments: Any) -> V | None:
        """Load and store now, however fresh the value is; inside a transaction, store only after its commit."""
        if _here.connection.in_atomic_block:
            transaction.on_commit(partial(self.refresh, *arguments))
            return self.loader(*arguments)
        return drive(self._engine.refresh(self._key_of(arguments)))

    # --- Async -----------------------------------------------------------------------------------------------------

    async def aget(self, *arguments: Any) -> V | None:
        """As `get`. A hit hops to no thread; a miss runs the loader in one."""
        key = self._key_of(arguments)
        if self._buffered is not None:
            return (await self._abehind([key]))[key]
        if self.tier is not None:
            value = self.tier.get(self._name(*arguments))
            if value is not MISSING:
                self.statistics.local()
                return value
        return (await self._aread([key]))[key]

    async def aget_many(self, wanted: Iterable[Any]) -> dict[Any, V | None]:
        unique = list(dict.fromkeys(wanted))
        if self._buffered is not None:
            return await self._abehind(unique)
        found, left = self._from_tier(unique)
        return {**found, **await self._aread(left)} if left else found

    async def aset(self, *arguments: Any, value: V) -> V:
        """As `set`; where it writes to the database, in a thread: transactions are sync."""
        if self._buffered is not None:
            await self._buffered.aset(self._key_of(arguments), value)
            return value
        return await run_in_thread(partial(self.set, *arguments, value=value))

    async def aadd(self, *arguments: Any, amount: int = 1) -> None:
        await self._sums().aadd(self._key_of(arguments), amount)

    async def ainvalidate(self, *arguments: Any) -> None:
        """At once: asynchronous code has no transaction to wait for."""
        await self.ainvalidate_many([self._key_of(arguments)])

    async def ainvalidate_many(self, unwanted: Iterable[Any]) -> None:
        await adrive(self._engine.forget([self.name_of(key) for key in unwanted]))

    async def ainvalidate_tag(self, template: str, **arguments: Any) -> None:
        await adrive(self._engine.restamp(self.tag(template, **arguments)))

    async def arefresh(self, *arguments: Any) -> V | None:
        return await adrive(self._engine.refresh(self._key_of(arguments)))

    # --- What the engine asks ----------------------------------------------------------------------------------------

    def load(self, wanted: Sequence[Any]) -> dict[Any, V | None]:
        """From the loader, past the cache."""
        if self.many is not None and len(wanted) > 1:
            values = self.many(wanted)
            return {key: values.get(key) for key in wanted}
        return {key: self.loader(*self._arguments_of(key)) for key in wanted}

    def lifetime(self, value: V | None) -> tuple[int, int]:
        """(how long the value is fresh, how long it is kept), in milliseconds."""
        fresh = self.ttl if value is not None else min(self.none_ttl, self.ttl)
        fresh *= 1 - self.jitter * random.random()  # noqa: S311  spreads expiries, guards nothing
        return max(round(fresh * 1000), 1), max(round((fresh + self.strategy.stale) * 1000), 1)

    def place(self, key: Any) -> Place:
        return Place(key, self.name_of(key), self.tags_of(key))

    def name_of(self, key: Any) -> str:
        """The Redis key of an argument, or of a tuple of them."""
        return self._name(*key) if isinstance(key, tuple) else self._name(key)

    def names_of(self, wanted: Sequence[Any]) -> list[str]:
        return [self._name(*key) for key in wanted] if len(self.parameters) > 1 else list(map(self._name, wanted))

    def tags_of(self, key: Any) -> Sequence[str]:
        return [make(*self._arguments_of(key)) for make in self._tags.values()]

    def tag(self, template: str, **arguments: Any) -> str:
        """One tag's name. Raises ValueError for a template that is not declared, TypeError for other arguments."""
        if template not in self._tags:
            raise ValueError(f"{self.namespace} has no tag {template!r}; it has {', '.join(self._tags) or 'none'}.")
        named = arguments_of(template)
        if arguments.keys() != set(named):
            raise TypeError(f"The tag {template!r} takes {', '.join(named) or 'no argument'}.")
        return self._tags[template](*(arguments.get(name, 0) for name in self.parameters))

    @property
    def is_tagged(self) -> bool:
        return bool(self._tags)

    # --- Inside ----------------------------------------------------------------------------------------------------

    def _key_of(self, arguments: tuple[Any, ...]) -> Any:
        return arguments[0] if len(arguments) == 1 else arguments

    def _arguments_of(self, key: Any) -> tuple[Any, ...]:
        return key if isinstance(key, tuple) else (key,)

    def _behind_or_past(self, wanted: list[Any]) -> dict[Any, V | None]:
        """What waits to be written, and the rest: inside a transaction past the cache."""
        found = self._buffered.waiting(wanted) if self._buffered is not None else {}
        left = [key for key in wanted if key not in found]
        if left:
            found |= self.load(left) if _here.connection.in_atomic_block else self._read(left)
        return found

    async def _abehind(self, wanted: list[Any]) -> dict[Any, V | None]:
        assert self._buffered is not None
        found = await self._buffered.awaiting(wanted)
        left = [key for key in wanted if key not in found]
        return {**found, **await self._aread(left)} if left else found

    def _sums(self) -> Buffered:
        if self._buffered is None:
            raise TypeError(f"{self.namespace} is no sum: declare it with WriteBehindSum to add to it.")
        return self._buffered

    def _read(self, wanted: list[Any]) -> dict[Any, V | None]:
        quick = self._engine.quick(wanted)
        if quick is None:
            return drive(self._engine.read(wanted))
        found, missing = quick
        return drive(self._engine.complete(missing, found)) if missing else found

    async def _aread(self, wanted: list[Any]) -> dict[Any, V | None]:
        quick = await self._engine.aquick(wanted)
        if quick is None:
            return await adrive(self._engine.read(wanted))
        found, missing = quick
        return await adrive(self._engine.complete(missing, found)) if missing else found

    def _from_tier(self, wanted: list[Any]) -> tuple[dict[Any, V | None], list[Any]]:
        if self.tier is None:
            return {}, wanted
        found: dict[Any, V | None] = {}
        for key in wanted:
            value = self.tier.get(self.name_of(key))
            if value is not MISSING:
                self.statistics.local()
                found[key] = value
        return found, [key for key in wanted if key not in found]

    def _write(self, place: Place, arguments: tuple[Any, ...], value: V) -> V:
        """The value as it was written. Before the transaction commits, nothing is cached."""
        assert self.strategy.writer is not None
        claimed = False
        try:
            with transaction.atomic():
                value = self.strategy.writer(*arguments, value)
                self.codec.encode(value)  # what cannot be cached is not committed either
                # After the row was written: from here to the commit, who writes it next waits for its lock.
                claimed = drive(self._engine.claim_write(place))
                transaction.on_commit(partial(self._put, place, value, claimed))
        except IntegrityError:  # of a deferred constraint, if at the commit
            if claimed:
                drive(self._engine.give_up(place))
            raise
        except BaseException:  # a connection lost at the commit does not say whether it was made
            if claimed:
                drive(self._engine.forget([place.name]))
            raise
        return value

    def _put(self, place: Place, value: V, claimed: bool) -> None:
        """After the commit: readers get the new value, or load it where Redis did not take the claim."""
        drive(self._engine.put(place, value) if claimed else self._engine.forget([place.name]))

    def _compile(self) -> None:
        """Make what reads need. What is wrong with the declaration is kept in `problems`, and then any use raises."""
        self._tags: dict[str, Callable[..., str]] = {}
        self.tier: LocalTier[V | None] | None = None
        self._buffered: Buffered | None = None
        self.needs_clock = bool(self.local) or getattr(self.strategy, "stale", 0) != 0
        self.problems = problems_of(self)
        if self.problems:
            self._name: Callable[..., str] = self._refuse
            self.loader = self._refuse  # inside a transaction nothing else is asked
            return
        prefix = keys.cached_prefix(self.namespace)
        self._name = compile_template(self.key, self.parameters, before=prefix, after="}")
        self._tags = {template: compile_template(template, self.parameters) for template in self.tag_templates}
        if self.local is not None:
            prefixes = [prefix, keys.tag_prefix()] if self._tags else [prefix]
            self.tier = LocalTier(prefixes, *self.local)
        self.codec = self.custom_codec or JSON(Union[self.type, None])  # noqa: UP007  a value here
        self.statistics = Statistics(self.namespace)
        self._engine = Engine(self)
        try:
            self._buffered = self.strategy.bind(self)
        except ValueError as error:  # another write-behind has its namespace
            self.problems, self._name = [str(error)], self._refuse

    def __getattr__(self, name: str) -> Any:
        """Only what a wrong declaration lacks comes here."""
        if self.__dict__.get("problems"):
            self._refuse()
        raise AttributeError(name)

    def _refuse(self, *arguments: Any) -> Any:
        raise ImproperlyConfigured(
            f"The cached thing {self.namespace!r} is declared wrongly: {'; '.join(self.problems)}."
        )
