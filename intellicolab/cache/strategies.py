"""The caching strategies: how a declared thing is kept, apart from what it is and where it lies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from .declaration import Cached


@dataclass(frozen=True, slots=True)
class Strategy:
    """`stale`: seconds that a value is kept past its time to live, to be served while it is loaded anew.

    `beta` weighs early refreshes (0: none), `writer` changes the database when a value is set.
    """

    name: ClassVar[str] = ""
    stale: float = 0.0
    beta: float = 0.0
    writer: Callable[..., Any] | None = None

    def problems(self) -> list[str]:
        """What is wrong with the parameters, in words."""
        return [] if self.stale >= 0 else ["`stale` must not be negative"]

    def bind(self, thing: "Cached[Any]") -> "Buffered | None":
        """What holds a thing's writes until they are in the database; None where `set` does not wait."""
        return None


class Buffered(Protocol):
    """Writes of one thing that are on their way to the database. Keys are those of `Cached.get_many`."""

    def waiting(self, wanted: Sequence[Any]) -> dict[Any, Any]:
        """The values that are newer than the database's; ask here first, and the database afterwards."""

    async def awaiting(self, wanted: Sequence[Any]) -> dict[Any, Any]: ...

    def set(self, key: Any, value: Any) -> None: ...

    async def aset(self, key: Any, value: Any) -> None: ...

    def add(self, key: Any, amount: int) -> None: ...

    async def aadd(self, key: Any, amount: int) -> None: ...


@dataclass(frozen=True, slots=True)
class CacheAside(Strategy):
    """Read the cache; on a miss one reader loads and stores. Who changes the database invalidates after its commit.

    With `stale` seconds, the others are served the old value while one loads, and all are when the loader fails.
    """

    name: ClassVar[str] = "cache-aside"


@dataclass(frozen=True, slots=True)
class RefreshAhead(Strategy):
    """Values are refreshed in the background a little before they expire, so that no reader waits.

    A read decides by chance, the likelier the nearer the expiry and the longer this very value took to load: XFetch,
    with its parameter `beta` (Vattani, Chierichetti, Lowenstein: "Optimal Probabilistic Cache Stampede Prevention",
    VLDB 2015). For `stale` seconds past the expiry the old value is served, so a failing loader is not felt till then.
    """

    name: ClassVar[str] = "refresh-ahead"
    beta: float = 1.0

    def problems(self) -> list[str]:
        found = [] if self.stale > 0 else ["`stale` must be above 0: how long a failing loader may go unnoticed"]
        return found if self.beta > 0 else [*found, "`beta` must be above 0: 1 is the paper's optimum"]


@dataclass(frozen=True, slots=True)
class WriteThrough(Strategy):
    """`set` changes the database and, after the commit, the cache; a rolled-back transaction changes neither.

    `writer` takes the thing's arguments and the value, writes the row (which it must lock or update, so that two
    writers come one after the other) and returns the value as the loader would now load it.
    """

    name: ClassVar[str] = "write-through"

    def problems(self) -> list[str]:
        found = [] if self.stale >= 0 else ["`stale` must not be negative"]
        return found if callable(self.writer) else [*found, "`writer` must be the function that changes the database"]
