"""One of several processes whose threads send requests of one identity, all at once; led by `bench.harness.crew`.

job: {"contender", "address", "most", "threads", "requests"}: so many requests of each thread, against `most` a minute.
Result: {"admitted"}.
"""

import sys
import threading
from collections.abc import Callable

from bench.harness import crew
from bench.sites import limits  # sets Django up, first

CROWD_SECONDS = 60.0
CONTENDERS = {**limits.OURS, **limits.PEERS}


def do(job: dict, go: Callable[[], None]) -> dict:
    """Threads that have each connected by the time that they are let go."""
    admits = CONTENDERS[job["contender"]](job["most"])
    ready, gate = threading.Barrier(job["threads"] + 1), threading.Event()
    admitted: list[int] = []

    def ask() -> None:
        admits(limits.NOBODY)  # connects
        ready.wait(CROWD_SECONDS)
        gate.wait(CROWD_SECONDS)
        admitted.append(sum(admits(job["address"]) for _ in range(job["requests"])))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(job["threads"])]
    for thread in threads:
        thread.start()
    ready.wait(CROWD_SECONDS)
    go()
    gate.set()
    for thread in threads:
        thread.join(CROWD_SECONDS)
    assert len(admitted) == job["threads"], "somebody was not answered"
    return {"admitted": sum(admitted)}


if __name__ == "__main__":
    limits.be_patient()
    crew.serve(do, sys.stdin, sys.stdout)
