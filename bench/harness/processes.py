"""Servers as child processes, pinned to a core, so that server and client don't take each other's time."""

import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 30
STOP_SECONDS = 10
IDLE_SECONDS, IDLE_LOOK = 15.0, 0.25
IDLE_SHARE = 0.05  # of a core


def pin(core: int) -> None:
    """Keep this process on one core, where the machine has more than that and the system can."""
    if hasattr(os, "sched_setaffinity") and core in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {core})


def pin_all(pid: int, core: int) -> None:
    """Every thread of a process that already runs, where the system can."""
    if hasattr(os, "sched_setaffinity") and core in os.sched_getaffinity(0):
        for thread in psutil.Process(pid).threads():
            os.sched_setaffinity(thread.id, {core})


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def server(
    command: Sequence[str], port: int, *, core: int = 0, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A child on `core` that listens on `port` by the time the block begins, and has ended when it is left.

    RuntimeError if it ends before it listens or doesn't within 30 seconds.
    """
    pinned = ["taskset", "-c", str(core)] if shutil.which("taskset") else []
    child = subprocess.Popen([*pinned, *command], cwd=ROOT, env={**os.environ, **(environment or {})})
    try:
        wait_until_it_listens(child, port)
        yield child
    finally:
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_until_it_listens(child: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        with socket.socket() as peer:
            if peer.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"no server on port {port}: {child.args!r} (exit status {child.poll()})")


def python(*arguments: str) -> list[str]:
    """A command for the Python that runs this."""
    return [sys.executable, *arguments]


def processor_time(child: subprocess.Popen[bytes]) -> Callable[[], float]:
    """A clock: the seconds of processor time that the child and its children have had."""
    parent = psutil.Process(child.pid)

    def seconds() -> float:
        times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
        return sum(one.user + one.system for one in times)

    return seconds


def wait_until_idle(pid: int) -> None:
    """Until a process has next to nothing to do, such as clearing up after clients that left; 15 seconds at most."""
    clock = psutil.Process(pid).cpu_times
    deadline, share = time.monotonic() + IDLE_SECONDS, 1.0
    while share > IDLE_SHARE and time.monotonic() < deadline:
        before = clock()
        time.sleep(IDLE_LOOK)
        after = clock()
        share = (after.user + after.system - before.user - before.system) / IDLE_LOOK


def unshared_memory(pid: int) -> int:
    """Bytes that would be free if the process ended (USS)."""
    return psutil.Process(pid).memory_full_info().uss


def raise_open_files(least: int) -> None:
    """Let this process and its children have as many files and sockets open as the system allows."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < least:
        raise RuntimeError(
            f"A process may have {hard} files open here; {least} are needed. Raise it: ulimit -Hn {least}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
