import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from intellicolab import threads
from intellicolab.cache.behind import Flusher
from intellicolab.children import Child, CrashLoopError
from intellicolab.events import problems as event_problems
from intellicolab.events.consumers import Consumers
from intellicolab.events.groups import NONE, Group, groups, named
from intellicolab.events.relay import Relay
from intellicolab.events.signals import Listener
from intellicolab.events.watch import Watch
from intellicolab.jobs import problems as job_problems
from intellicolab.jobs.scheduler import Scheduler
from intellicolab.jobs.worker import CONCURRENCY, JobWorker, Queue, queues
from intellicolab.redis.client import close
from intellicolab.redis.counters import counters
from intellicolab.redis.heartbeat import Heartbeat
from intellicolab.reloading import run_reloaded
from intellicolab.stop import Stop

CHECK_SECONDS = 1.0


class Service(Protocol):
    """What a worker runs, in threads of its own."""

    def start(self) -> None: ...

    def stop(self) -> None:
        """Within 10 s, after what is under way: `serve` grants 15 s for all of them."""


class Command(BaseCommand):
    help = "Run the background services (serve starts it; several may run)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--groups", metavar="NAME[,NAME]", help=f"consumer groups to run; {NONE!r} for none (all)")
        parser.add_argument("--queues", metavar="NAME[,NAME]", help=f"job queues to run; {NONE!r} for none (all)")
        parser.add_argument(
            "--concurrency",
            type=positive,
            default=CONCURRENCY,
            metavar="N",
            help="jobs at a time a process (%(default)s)",
        )
        parser.add_argument(
            "--processes", type=positive, default=1, metavar="N", help="processes that run jobs (%(default)s)"
        )
        parser.add_argument("--only-jobs", action="store_true", help="nothing but jobs, beside another worker")
        parser.add_argument("--reload", action="store_true", help="start anew when the code changes (development)")

    def handle(self, *args: Any, reload: bool, processes: int, **options: Any) -> None:
        services = made_services(**options)
        if reload:
            again = [argument for argument in sys.argv if argument != "--reload"]
            run_reloaded("The worker", [sys.executable, *again])
            return
        stop = Stop()
        connections.close_all()  # each service has connections of its own
        children = [Child(f"The job worker {number}", job_worker()) for number in range(2, processes + 1)]
        for service in services:
            service.start()
        self.stdout.write("The worker runs.")
        self.stdout.flush()
        try:
            self._watch(children, stop)
        except CrashLoopError as error:
            raise CommandError(str(error)) from error
        finally:
            end([*services, *children])

    def _watch(self, children: Sequence[Child], stop: Stop) -> None:
        while not stop.wait(CHECK_SECONDS):
            for child in children:
                child.check()


def end(running: Sequence[Service | Child]) -> None:
    """All at once."""
    with ThreadPoolExecutor(len(running)) as stopping:
        list(stopping.map(lambda each: each.stop(), running))
    threads.close()
    counters.stop()
    close()


def chosen_groups(names: str | None) -> list[Group]:
    """All for None. Raises CommandError for a name that no group has."""
    if names is None:
        return list(groups())
    try:
        return named([] if names == NONE else [name.strip() for name in names.split(",")])
    except LookupError as error:
        raise CommandError(f"{error} (`--groups {NONE}` runs none.)") from error


def chosen_queues(names: str | None) -> list[Queue]:
    """All for None. Raises CommandError for a name that no queue has."""
    if names == NONE:
        return []
    try:
        return queues([name.strip() for name in names.split(",")] if names else [])
    except LookupError as error:
        raise CommandError(f"{error} (`--queues {NONE}` runs none.)") from error


def made_services(
    *, groups: str | None, queues: str | None, concurrency: int, only_jobs: bool, **options: Any
) -> list[Service]:
    """Raises CommandError."""
    chosen, jobs = chosen_groups(NONE if only_jobs else groups), JobWorker(chosen_queues(queues), concurrency)
    names = [queue.name for queue in jobs.queues]
    heartbeat = Heartbeat(
        groups=lambda: [group.name for group in chosen],
        queues=lambda: names,
        jobs=lambda: f"{jobs.running} in hand, {concurrency} at a time",
    )
    if only_jobs:
        return [Listener(), jobs, heartbeat]
    sole: list[Service] = [Flusher(), Relay(), Scheduler(), Watch(event_problems.found, job_problems.found)]
    return [*sole, Listener(), Consumers(chosen), jobs, heartbeat]


def job_worker() -> list[str]:
    """The command of a further process: as this one, with jobs alone."""
    words = iter(sys.argv)
    kept = [
        word for word in words if not (word == "--processes" and next(words)) and not word.startswith("--processes=")
    ]
    return [sys.executable, *kept, *([] if "--only-jobs" in kept else ["--only-jobs"])]


def positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"{text!r} is no number from 1 on.")
    return int(text)
