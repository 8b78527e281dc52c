"""A process that makes facts, ten in a transaction, and says when the last has been handled; for bench/events.py."""

import sys
import time
from collections.abc import Callable

import django
from django.core.management import call_command

from bench.harness.crew import serve

TOGETHER = 10
LONGEST_SECONDS = 120.0


def make(count: int) -> float:
    """Seconds until all have been handled."""
    from django.db import transaction

    from bench.facts.shared import Happened
    from intellicolab.events.outbox import emit_all

    first, began = handled(), time.monotonic()
    for start in range(first, first + count, TOGETHER):
        with transaction.atomic():
            emit_all(Happened(number=number) for number in range(start, start + TOGETHER))
    while handled() < first + count:
        if time.monotonic() > began + LONGEST_SECONDS:
            raise RuntimeError(f"Only {handled() - first} of {count} facts were handled in time.")
        time.sleep(0.01)
    return time.monotonic() - began


def handled() -> int:
    """They come in their order. To count them all, again and again, would be felt by what is measured."""
    from bench.facts.shared import Handled

    newest = Handled.objects.order_by("-pk").first()
    return newest.number + 1 if newest else 0


def do(job: dict, go: Callable[[], None]) -> dict:
    go()
    return {"seconds": make(job["count"])}


def main() -> None:
    django.setup()
    from bench.facts.shared import make_table

    call_command("migrate", verbosity=0)
    make_table()
    serve(do, sys.stdin, sys.stdout)


if __name__ == "__main__":
    main()
