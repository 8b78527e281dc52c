"""What the processes of a run share: a fact, two groups for it, and jobs. All effects are rows, or lines of a file."""

import os
from pathlib import Path

from django.conf import settings
from django_tasks import task

from intellicolab.events.groups import Group, declare, on
from intellicolab.events.schema import Event, event

from ...behind import Thing

ROWS, LINES = "fault-rows", "fault-lines"
TRIES = 3
HANDLED, RAN = 1, 2  # what a row says of its number


@event("fault:happened", stream="fault-facts")
class Happened(Event):
    number: int
    poison: bool = False


declare(Group(ROWS, tries=TRIES, batch=20))
declare(Group(LINES, outside=True))


@on(Happened, group=ROWS)
def write_row(fact):
    Thing.objects.create(value=HANDLED, stamp=fact.number)
    if fact.poison:
        raise ValueError("poison")


@on(Happened, group=LINES)
def write_line(fact):
    """As an email that is sent: nothing takes it back."""
    descriptor = os.open(lines(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, b"%d\n" % fact.number)
    os.close(descriptor)


def lines() -> Path:
    return Path(settings.VAR_DIR) / "lines"


@task(retries=2, backoff=0.1, keep=0)
def run(number, poison=False):
    Thing.objects.create(value=RAN, stamp=number)
    if poison:
        raise ValueError("poison")


@task(keep=0)
async def run_async(number):
    from asgiref.sync import sync_to_async

    await sync_to_async(Thing.objects.create)(value=RAN, stamp=number)
