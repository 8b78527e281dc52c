"""Processes that do a job together: each says when it is ready, and then all are let go at once."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO

from bench.harness.processes import ROOT, STOP_SECONDS, python

READY, GO = "ready\n", "go\n"


class Crew:
    """Children that run a module whose main calls `serve`; they stay for the next job."""

    def __init__(self, module: str, size: int, environment: Mapping[str, str], core: int | None = None) -> None:
        pinned = ["taskset", "-c", str(core)] if core is not None and shutil.which("taskset") else []
        self._children = [
            subprocess.Popen(
                [*pinned, *python("-m", module)],
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(size)
        ]

    def do(self, jobs: list[dict]) -> list[dict]:
        """A job a child, begun together; their results. RuntimeError when a child ends or fails."""
        pairs = list(zip(self._children, jobs, strict=True))
        for child, job in pairs:
            _say(child, json.dumps(job) + "\n")
        for child, _ in pairs:
            if _hear(child) != READY:
                raise RuntimeError(f"{child.args!r} is not ready")
        for child, _ in pairs:
            _say(child, GO)
        return [json.loads(_hear(child)) for child, _ in pairs]

    def end(self) -> None:
        for child in self._children:
            child.stdin.close()  # type: ignore[union-attr]  # it was asked for
        for child in self._children:
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            child.stdout.close()  # type: ignore[union-attr]


@contextmanager
def crew(module: str, size: int, environment: Mapping[str, str], core: int | None = None) -> Iterator[Crew]:
    """Children, all on that core if one is named, that have ended when the block is left."""
    made = Crew(module, size, environment, core)
    try:
        yield made
    finally:
        made.end()


def serve(do: Callable[[dict, Callable[[], None]], dict], jobs: IO[str], answers: IO[str]) -> None:
    """In a child: do jobs until there are no more. `do` calls what it is given, which returns when all may go."""

    def go() -> None:
        answers.write(READY)
        answers.flush()
        if jobs.readline() != GO:
            raise SystemExit("The leader has ended.")

    for line in iter(jobs.readline, ""):
        answers.write(json.dumps(do(json.loads(line), go)) + "\n")
        answers.flush()


def _say(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(line)
    child.stdin.flush()


def _hear(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError(f"{child.args!r} has ended (exit status {child.wait()})")
    return line
