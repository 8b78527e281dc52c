"""A Redis of its own for one measurement of one contender, its producer, and its workers."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.cache import installation
from bench.harness.crew import Crew, crew
from bench.harness.processes import ROOT, STOP_SECONDS, pin_all
from bench.queues import work
from bench.queues.contenders import Contender

SERVER_CORE, WORKER_CORE = 0, 1  # the producer is on the server's
LOOK_SECONDS = 0.002
LONGEST_SECONDS = 90.0  # that anything here may take


@dataclass(frozen=True)
class Place:
    contender: Contender
    producer: Crew
    environment: Mapping[str, str]
    log: Path

    def ask(self, do: str, **job: Any) -> dict:
        return self.producer.do([{"do": do, **job}])[0]

    def results(self) -> int:
        return self.ask("results")["results"]

    def starts(self) -> list[work.Start]:
        return work.starts(self.log)

    def wait_for_starts(self, count: int) -> None:
        """Until so many jobs have begun."""
        self.wait(lambda: work.started(self.log) >= count, f"{count:,} jobs have begun")

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """RuntimeError when it takes too long, with what the worker has printed."""
        deadline = time.monotonic() + LONGEST_SECONDS
        while not done():
            if time.monotonic() > deadline:
                printed = self.output.read_text(errors="replace")[-2000:]
                begun = work.started(self.log)
                raise RuntimeError(
                    f"{self.contender.name}: not within {LONGEST_SECONDS} s: {what} ({begun}). {printed}"
                )
            time.sleep(LOOK_SECONDS)

    @property
    def output(self) -> Path:
        return self.log.with_name("worker.log")

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """One that has ended when the block is left."""
        child = self.start_worker()
        try:
            yield child
        finally:
            kill(child)

    def start_worker(self) -> subprocess.Popen[bytes]:
        pinned = ["taskset", "-c", str(WORKER_CORE)] if shutil.which("taskset") else []
        with self.output.open("ab") as output:
            command = [*pinned, *self.contender.worker]
            return subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=output, stderr=output)


def processor_time(child: subprocess.Popen[bytes]) -> float:
    """Seconds that a worker and its children have had, those that have ended included."""
    parent = psutil.Process(child.pid)
    times = []
    for process in (parent, *parent.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # a fork that ends meanwhile
            times.append(process.cpu_times())
    return sum(one.user + one.system + one.children_user + one.children_system for one in times)


def kill(child: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a worker and all of its children, each by its own id: what an out-of-memory killer or a crash does."""
    try:
        parent = psutil.Process(child.pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    for process in family:
        with suppress(psutil.NoSuchProcess):  # it went with its parent
            process.kill()
    child.wait(STOP_SECONDS)
    psutil.wait_procs(family, STOP_SECONDS)


@contextmanager
def place(contender: Contender, kept: bool) -> Iterator[Place]:
    """`kept`: whether the results are stored."""
    with ExitStack() as stack:
        server, environment = stack.enter_context(installation())
        pin_all(server.pid or 0, SERVER_CORE)
        log = server.folder.parent / "starts"
        settings = {
            "JOBS_REDIS": server.url(),
            "JOBS_RESULTS": "kept" if kept else "dropped",
            "JOBS_LOG": str(log),
            "JOBS_MODULE": contender.module,
            "PYTHONPATH": os.pathsep.join([str(ROOT)]),
        }
        environment = {**environment, **settings, **contender.environment}
        contender.prepare(environment)
        producer = stack.enter_context(crew("bench.clients.job_producer", 1, environment, SERVER_CORE))
        made = Place(contender, producer, environment, log)
        made.ask("nothing")  # a worker must not start before its tables are there
        yield made
