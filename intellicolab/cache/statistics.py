"""Counts a namespace, added up in process and flushed each second (`redis/counters.py`, family "cache").

Every read counts as one of local, hit, stale and miss. Early refreshes, coalesced waits and errors count besides.
"""

from intellicolab.redis.counters import counters

FAMILY = "cache"
# Upper bounds of the load-time histogram, in milliseconds; the last one has none.
LOAD_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class Statistics:
    """Call what happened: `hit()`, `miss()` …; `loaded` takes a load's time."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.local = self._tally("local")
        self.hit = self._tally("hit")
        self.stale = self._tally("stale")
        self.miss = self._tally("miss")
        self.early = self._tally("early")
        self.coalesced = self._tally("coalesced")
        self.error = self._tally("error")

    def hits(self, count: int) -> None:
        """Several at once."""
        if count == 1:
            self.hit()
        elif count:
            self._add("hit", count)

    def loaded(self, seconds: float) -> None:
        self._add("loads", 1)
        self._add("load_us", round(seconds * 1e6))
        bound = next((str(bound) for bound in LOAD_BOUNDS if seconds * 1000 <= bound), "more")
        self._add(f"load_ms_{bound}", 1)

    def _add(self, field: str, amount: int) -> None:
        counters.add(FAMILY, f"{self._namespace}:{field}", amount)

    def _tally(self, field: str):  # type: ignore[no-untyped-def]  # the bound method of a counter
        return counters.tally(FAMILY, f"{self._namespace}:{field}").one
