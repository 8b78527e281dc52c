"""The cache's counters as rows: one a namespace."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from .figures import percent, share
from .queries import Family

HITS = ("local", "hit", "stale")


@dataclass(frozen=True, slots=True)
class Reads:
    """Every read was one of these; `hits` are those that did not wait for the database."""

    local: int = 0
    remote: int = 0
    stale: int = 0
    misses: int = 0

    @classmethod
    def of(cls, outcomes: Mapping[str, int]) -> "Reads":
        return cls(*(outcomes.get(name, 0) for name in (*HITS, "miss")))

    @property
    def hits(self) -> int:
        return self.local + self.remote + self.stale

    @property
    def all(self) -> int:
        return self.hits + self.misses

    @property
    def ratio(self) -> float | None:
        """Per cent; None without reads."""
        return share(self.hits, self.all)


@dataclass(frozen=True, slots=True)
class CacheRow:
    """One namespace in the last hour, and its ratio since the beginning."""

    namespace: str
    reads: Reads
    coalesced: int
    early: int
    errors: int
    load_time: str
    total_ratio: str

    @property
    def ratio(self) -> str:
        return percent(self.reads.ratio, "no reads")


def cache_rows(family: Family) -> list[CacheRow]:
    hour = family.hour()
    namespaces = sorted({name.rpartition(":")[0] for name in family.totals})
    return [_row(name, _of(name, hour), Reads.of(_of(name, family.totals))) for name in namespaces]


def by_outcome(fields: Mapping[str, int]) -> Counter[str]:
    """Counts of "profile:hit", "room:hit" … as one count of "hit"."""
    summed: Counter[str] = Counter()
    for name, count in fields.items():
        summed[name.rpartition(":")[2]] += count
    return summed


def _row(namespace: str, hour: Mapping[str, int], total: Reads) -> CacheRow:
    loads = hour.get("loads", 0)
    return CacheRow(
        namespace,
        Reads.of(hour),
        hour.get("coalesced", 0),
        hour.get("early", 0),
        hour.get("error", 0),
        f"{hour.get('load_us', 0) / loads / 1000:.1f}" if loads else "none",
        percent(total.ratio),
    )


def _of(namespace: str, fields: Mapping[str, int]) -> dict[str, int]:
    return {name.rpartition(":")[2]: count for name, count in fields.items() if name.rpartition(":")[0] == namespace}
