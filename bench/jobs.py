"""Job queues on Redis: jobs a second of one worker, what enqueueing costs, how soon a job starts, what a crash loses.

Server and producer are on one core, the worker on the other; each measurement has an embedded Valkey of its own. The
first of `CONTENDERS` is the value of each row, the others are its peers. BENCH_BRIEF takes a moment, and
BENCH_CONTENDERS=Huey,saq takes those only.
"""

import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from math import nan
from statistics import median

from bench.chats.brief import BRIEF, ROUNDS, count
from bench.harness.processes import pin
from bench.harness.results import Row, table
from bench.harness.rounds import interleaved, percentile
from bench.queues.contenders import CONTENDERS, TUNED, Contender
from bench.queues.place import SERVER_CORE, Place, kill, place, processor_time
from bench.queues.producer import CONCURRENCY

WARM_UP = 5  # jobs before the first whose latency counts
LATENCY_JOBS = count(200)
LEAST, MOST = 0.02, 0.08  # seconds between two of them
HELD_SECONDS = 120.0
AGAIN_SECONDS = 3.0 if BRIEF else 15.0
ENQUEUED, ENQUEUED_IN_BULK, STARTED_MS = 4000, 20_000, 3.0  # bars: a second, and at most ms until a job starts
START_SECONDS = 2.0  # what a worker may take to start, before those begin to count

THROUGHPUT = (
    f"jobs: no-op jobs that a worker at concurrency {CONCURRENCY} finds waiting; "
    "from the first job's start until the last has started and, where results are kept, all results are stored; "
    "processor time is that of the worker and its children, which other programs do not move as they move the rates; "
    "enqueue: the same jobs, one call after the other where results are kept, in bulk where they are not; "
    f"medians of {ROUNDS} interleaved rounds"
)
LATENCY = (
    f"latency: {LATENCY_JOBS} jobs at intervals of {LEAST * 1000:.0f} to {MOST * 1000:.0f} ms, from the call until the "
    "job's first line, results kept"
)
CRASH = (
    "crash: the worker is killed (SIGKILL, with its children) during its one job and another is started; 1: the job "
    f"began again within {AGAIN_SECONDS:.0f} s, at default settings, without other jobs"
)


def run() -> list[Row]:
    pin(SERVER_CORE)
    found = contenders()
    return [*throughput(found), *latencies(found), *crashes(found)]


def contenders() -> list[Contender]:
    """Those of BENCH_CONTENDERS, or all."""
    names = [name.strip() for name in os.environ.get("BENCH_CONTENDERS", "").split(",") if name.strip()]
    unknown = [name for name in names if not any(one.name.startswith(name) for one in CONTENDERS)]
    if unknown:
        sys.exit(f"BENCH_CONTENDERS has no {unknown[0]}. There are: {'; '.join(one.name for one in CONTENDERS)}.")
    return [one for one in CONTENDERS if not names or any(one.name.startswith(name) for name in names)]


def row(
    figure: str, unit: str, values: dict[str, float], conditions: str, bar: float | None = None, low: bool = False
) -> Row:
    """The first contender's figure; the others are its peers. Where `low`, less is better. The bar is ours."""
    first, *others = values
    bar = bar if first == CONTENDERS[0].name else None
    met = bar is None or (values[first] <= bar if low else values[first] >= bar)
    peers = {name: values[name] for name in others}
    return Row(f"{figure}: {first}", values[first], unit, bar, met, peers, conditions)


def fastest(values: dict[str, float], among: list[str]) -> float | None:
    """None where none of them was measured."""
    return max((values[name] for name in among if name in values), default=None)


def times(factor: float, value: float | None) -> float | None:
    return None if value is None else factor * value


# --- Throughput ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Round:
    """A second: jobs that ran, calls that enqueued (of whichever kind). And µs of the worker's processor time a job."""

    ran: float
    cost: float
    enqueued: float
    bulk: bool

    def __format__(self, spec: str) -> str:
        return f"{self.ran:{spec}} jobs/s{self.cost:{spec}} µs a job{self.enqueued:{spec}} enqueued/s"


def throughput(found: list[Contender]) -> list[Row]:
    measures = {f"{one.name}, kept": partial(drain, one, True) for one in found}
    measures |= {f"{one.name}, dropped": partial(drain, one, False) for one in found if one.can_drop}
    rounds = interleaved(measures, ROUNDS)
    kept = {one.name: rounds[f"{one.name}, kept"] for one in found}
    dropped = {one.name: rounds[f"{one.name}, dropped"] for one in found if one.can_drop}
    bulk = {name: some for name, some in dropped.items() if some[0].bulk}
    shipped = [one.name for one in found[1:] if one.shipped]
    figures = [
        ("jobs, results kept", "jobs/s", rates(kept), times(2.0, fastest(rates(kept), shipped))),
        ("jobs, results not kept", "jobs/s", rates(dropped), times(1.2, fastest(rates(dropped), [*shipped, TUNED]))),
        ("processor time a job, results kept", "µs", costs(kept), None),
        ("processor time a job, results not kept", "µs", costs(dropped), None),
        ("enqueue, single calls", "jobs/s", enqueues(kept), ENQUEUED),
        ("enqueue, in bulk", "jobs/s", enqueues(bulk), ENQUEUED_IN_BULK),
    ]
    show(found, [values for _, _, values, _ in figures])
    jobs = ", ".join(f"{one.name} {count(one.jobs):,}" for one in found)
    conditions = f"{THROUGHPUT}; jobs a round: {jobs}"
    return [row(figure, unit, values, conditions, bar) for figure, unit, values, bar in figures if values]


def drain(contender: Contender, kept: bool) -> Round:
    """Have jobs enqueued, then start a worker and wait until it is done."""
    jobs = count(contender.jobs)
    with place(contender, kept) as at:
        asked = at.ask("single" if kept else "many", count=jobs)
        with at.worker() as worker:
            at.wait_for_starts(1)
            before = processor_time(worker)
            at.wait_for_starts(jobs)
            if kept:
                at.wait(lambda: at.results() >= jobs, "all results are stored")
            spent = processor_time(worker) - before
            ended = time.monotonic() if kept else max(start.at for start in at.starts())
        starts = at.starts()
    assert len({start.number for start in starts}) == jobs, f"{contender.name} ran other jobs than those"
    took = ended - min(start.at for start in starts)
    return Round(jobs / took, spent / jobs * 1e6, jobs / asked["seconds"], asked["bulk"])


def rates(rounds: dict[str, list[Round]]) -> dict[str, float]:
    return {name: median(one.ran for one in some) for name, some in rounds.items()}


def costs(rounds: dict[str, list[Round]]) -> dict[str, float]:
    return {name: median(one.cost for one in some) for name, some in rounds.items()}


def enqueues(rounds: dict[str, list[Round]]) -> dict[str, float]:
    return {name: median(one.enqueued for one in some) for name, some in rounds.items()}


COLUMNS = ("jobs a round", "results kept", "not kept", "kept, µs", "not kept, µs", "enqueue", "in bulk")


def show(found: list[Contender], figures: list[dict[str, float]]) -> None:
    lines = {one.name: (count(one.jobs), *(values.get(one.name, nan) for values in figures)) for one in found}
    table("A second", COLUMNS, lines)


# --- Latency ---------------------------------------------------------------------------------------------------------


def latencies(found: list[Contender]) -> list[Row]:
    waits = {one.name: latency(one) for one in found}
    table("Enqueue → start, idle worker", ("p50 ms", "p99 ms"), waits)
    return [
        row(f"enqueue → start, p{percent}", "ms", {name: both[at] for name, both in waits.items()}, LATENCY, bar, True)
        for at, (percent, bar) in enumerate(((50, None), (99, STARTED_MS)))
    ]


def latency(contender: Contender) -> tuple[float, float]:
    """(p50, p99) in milliseconds."""
    with place(contender, True) as at, at.worker():
        at.ask("single", count=WARM_UP)
        at.wait_for_starts(WARM_UP)
        began = at.ask("now and then", count=LATENCY_JOBS, least=LEAST, most=MOST)["began"]
        at.wait_for_starts(WARM_UP + LATENCY_JOBS)
        later = at.starts()[WARM_UP:]
    waits = [(start.at - began[start.number]) * 1000 for start in later]
    return percentile(waits, 50), percentile(waits, 99)


# --- Crashes ---------------------------------------------------------------------------------------------------------


def crashes(found: list[Contender]) -> list[Row]:
    """All wait at the same time, since there is nothing to do meanwhile."""
    with ExitStack() as stack:
        places = {one.name: stack.enter_context(place(one, True)) for one in found}
        began = {name: crash(at) for name, at in places.items()}
        restarted = {}
        for name, at in places.items():
            stack.enter_context(at.worker())
            time.sleep(START_SECONDS)
            restarted[name] = time.monotonic()
        time.sleep(AGAIN_SECONDS)
        after = {name: [one.at - restarted[name] for one in at.starts()[began[name] :]] for name, at in places.items()}
    again = {name: float(any(wait <= AGAIN_SECONDS for wait in waits)) for name, waits in after.items()}
    table("Killed in the middle of a job", (f"again in {AGAIN_SECONDS:.0f} s",), {k: (v,) for k, v in again.items()})
    return [row("killed mid-job: begun again", "of 1", again, CRASH, 1.0)]


def crash(at: Place) -> int:
    """Kill a worker that has begun a job; how many starts there were."""
    child = at.start_worker()
    try:
        at.ask("held", seconds=HELD_SECONDS)
        at.wait_for_starts(1)
    finally:
        kill(child)
    return len(at.starts())
