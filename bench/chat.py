"""Chat as its users meet it: deliveries, commits, waiting, memory, reconnects and long histories; docs/performance.md.

Ours is a whole installation (sign-in, membership, limits, Markdown, SQLite with synchronous=FULL). One server process
is on one core; clients, Redis and worker are on the other. BENCH_PARTS=deliveries,latency chooses parts; BENCH_BRIEF=1
makes each so short that its figures say nothing, to see that it works.
"""

import os
import sys
from collections.abc import Callable
from functools import partial

from bench.chats import commits, crowd, deliveries, history, latency
from bench.chats.places import Places
from bench.harness.processes import raise_open_files
from bench.harness.results import Row

OPEN_FILES = 2500  # the largest crowd is 2,000, at either end


def run() -> list[Row]:
    raise_open_files(OPEN_FILES)
    with Places() as places:
        chosen = parts(places)
        return [row for part in chosen for row in part()]


def parts(places: Places) -> list[Callable[[], list[Row]]]:
    """Those of BENCH_PARTS, or all."""
    every: dict[str, Callable[[], list[Row]]] = {
        "deliveries": partial(deliveries.rows, places),
        "commits": partial(commits.rows, places),
        "latency": partial(latency.rows, places),
        "crowd": crowd.rows,
        "history": history.rows,
    }
    names = os.environ.get("BENCH_PARTS", "").replace(",", " ").split() or list(every)
    unknown = set(names) - set(every)
    if unknown:
        sys.exit(f"BENCH_PARTS has no part {unknown.pop()}. There are: {', '.join(every)}.")
    return [every[name] for name in names]
