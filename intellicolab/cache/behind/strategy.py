"""Write-behind as a strategy of cached things.

What is cached of the database is invalidated after each flush's commit and before the buffer forgets the write, so a
reader, who asks the buffer first, never sees an older value than its own.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from intellicolab.cache.strategies import Buffered, Strategy
from intellicolab.cache.template import compile_template, parser

from .buffer import LIMIT
from .latest import Entry, LatestBuffer
from .sums import SumBuffer

if TYPE_CHECKING:
    from intellicolab.cache.declaration import Cached

Merge = Literal["last", "max"]


@dataclass(frozen=True, slots=True)
class WriteBehindLatest(Strategy):
    """Of many writes of one key the last one reaches the database, or with `merge="max"` the greatest.

    `write` gets a list of entries (key, value, stamp) inside a transaction and updates each row that has a lower stamp;
    `update_latest` does that for a model. Above `limit` waiting keys a write goes to the database itself.
    """

    name: ClassVar[str] = "write-behind"
    write: Callable[[Sequence[Entry]], object] | None = None
    merge: Merge = "last"
    limit: int = LIMIT

    def problems(self) -> list[str]:
        found = [] if callable(self.write) else ["`write` must be the function that writes entries to the database"]
        if self.merge not in get_args(Merge):
            found.append("`merge` must be 'last' or 'max'")
        return [*found, *_limit_problems(self.limit)]

    def bind(self, thing: "Cached[Any]") -> Buffered:
        return _Latest(thing, self)


@dataclass(frozen=True, slots=True)
class WriteBehindSum(Strategy):
    """Additions reach the database as one, each counted exactly once; `get` is the exact total.

    `write` gets {key: amount} inside a transaction and adds them; `add_sums` does that for a model. The loader answers
    for the database's part.
    """

    name: ClassVar[str] = "write-behind"
    write: Callable[[Mapping[Any, int]], object] | None = None
    limit: int = LIMIT

    def problems(self) -> list[str]:
        found = [] if callable(self.write) else ["`write` must be the function that adds amounts to the database"]
        return [*found, *_limit_problems(self.limit)]

    def bind(self, thing: "Cached[Any]") -> Buffered:
        return _Sums(thing, self)


def _limit_problems(limit: Any) -> list[str]:
    return [] if type(limit) is int and limit > 0 else ["`limit` must be a number of entries above 0"]


class _Names:
    """Between a thing's keys and the text under which a buffer keeps them."""

    def __init__(self, thing: "Cached[Any]") -> None:
        parameters = inspect.signature(thing.loader).parameters
        kinds = [str if parameter.annotation in (str, "str") else int for parameter in parameters.values()]
        self._make = compile_template(thing.key, thing.parameters)
        self.key_of = parser(thing.key, thing.parameters, kinds)

    def text_of(self, key: Any) -> str:
        return self._make(*key) if isinstance(key, tuple) else self._make(key)


class _Latest:
    def __init__(self, thing: "Cached[Any]", strategy: WriteBehindLatest) -> None:
        self._names = names = _Names(thing)
        self._hits = thing.statistics.hits
        write = strategy.write
        assert write is not None
        self._buffer: LatestBuffer[str, Any] = LatestBuffer(
            thing.namespace,
            write=lambda entries: write([Entry(names.key_of(each.key), each.value, each.stamp) for each in entries]),
            type=thing.type,
            key=str,
            merge=strategy.merge,
            limit=strategy.limit,
            flushed=lambda written: thing.forget_now(map(names.key_of, written)),
        )

    def waiting(self, wanted: Sequence[Any]) -> dict[Any, Any]:
        texts = {self._names.text_of(key): key for key in wanted}
        return self._found(texts, self._buffer.get_many(texts))

    async def awaiting(self, wanted: Sequence[Any]) -> dict[Any, Any]:
        texts = {self._names.text_of(key): key for key in wanted}
        return self._found(texts, await self._buffer.aget_many(texts))

    def _found(self, texts: dict[str, Any], values: dict[str, Any]) -> dict[Any, Any]:
        self._hits(len(values))
        return {texts[text]: value for text, value in values.items()}

    def set(self, key: Any, value: Any) -> None:
        self._buffer.set(self._names.text_of(key), value)

    async def aset(self, key: Any, value: Any) -> None:
        await self._buffer.aset(self._names.text_of(key), value)

    def add(self, key: Any, amount: int) -> None:
        raise TypeError("Only a sum can be added to: declare it with WriteBehindSum.")

    async def aadd(self, key: Any, amount: int) -> None:
        self.add(key, amount)


class _Sums:
    def __init__(self, thing: "Cached[Any]", strategy: WriteBehindSum) -> None:
        self._names = names = _Names(thing)
        write = strategy.write
        assert write is not None
        self._buffer: SumBuffer[str] = SumBuffer(
            thing.namespace,
            write=lambda amounts: write({names.key_of(text): amount for text, amount in amounts.items()}),
            load=lambda texts: self._loaded(thing, texts),
            key=str,
            limit=strategy.limit,
        )

    def _loaded(self, thing: "Cached[Any]", texts: Sequence[str]) -> dict[str, int]:
        loaded = thing.load([self._names.key_of(text) for text in texts])
        return {self._names.text_of(key): value or 0 for key, value in loaded.items()}

    def waiting(self, wanted: Sequence[Any]) -> dict[Any, Any]:
        """All of them: what waits and what the database has must be read together."""
        texts = {self._names.text_of(key): key for key in wanted}
        return {texts[text]: total for text, total in self._buffer.get_many(texts).items()}

    async def awaiting(self, wanted: Sequence[Any]) -> dict[Any, Any]:
        texts = {self._names.text_of(key): key for key in wanted}
        return {texts[text]: total for text, total in (await self._buffer.aget_many(texts)).items()}

    def set(self, key: Any, value: Any) -> None:
        raise TypeError("A sum is added to, not set.")

    async def aset(self, key: Any, value: Any) -> None:
        self.set(key, value)

    def add(self, key: Any, amount: int) -> None:
        self._buffer.add(self._names.text_of(key), amount)

    async def aadd(self, key: Any, amount: int) -> None:
        await self._buffer.aadd(self._names.text_of(key), amount)
