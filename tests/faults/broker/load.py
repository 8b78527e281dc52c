"""Makes facts and jobs until it is told to stop, and then says what has become of them. One process of a run."""

import json
import os
import select
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from .worker import set_up

SETTLE_SECONDS = 120.0
PAUSE = 0.01
POISON = 40  # every so many is never to be handled


def main() -> None:
    set_up()
    from django.core.management import call_command

    from ...behind import make_table

    call_command("migrate", verbosity=0)
    make_table()
    say(ready=True)
    made = make_until_told()
    say(**judge(made))


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def make_until_told() -> int:
    """How many transactions were committed, numbered from 1: each is two facts and two jobs, or is rolled back."""
    from django.contrib.auth import get_user_model

    from accounts.services import sign_up

    number = 0
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        number += 1
        make(number)
        if number % 20 == 0:
            email = f"person{number}@example.org"
            sign_up(
                get_user_model().objects.build_user(email, "correct horse battery", display_name=f"P {number}"), None
            )
    return number


def make(number: int) -> None:
    from django.db import transaction

    from intellicolab.events.outbox import emit

    from . import facts

    with transaction.atomic():
        emit(facts.Happened(number=number, poison=number % POISON == 0))
        facts.run.enqueue(number, poison=number % POISON == 0)
        with transaction.atomic():
            emit(facts.Happened(number=-number))
            facts.run.enqueue(-number)
            transaction.set_rollback(True)
    facts.run_async.enqueue(10**6 + number)


# --- Judging -------------------------------------------------------------------------------------------------------


def judge(made: int) -> dict[str, Any]:
    unsettled = settle()
    problems = [f"did not settle in {SETTLE_SECONDS:.0f} s: {unsettled}"] if unsettled else []
    problems += facts_problems(made) + jobs_problems(made) + mail_problems() + left_over()
    return {"made": made, "problems": problems}


def settle() -> str:
    """Wait until nothing is under way any more; what still is."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while found := under_way():
        if time.monotonic() > deadline:
            return found
        time.sleep(0.2)
    return ""


def under_way() -> str:
    from redis.exceptions import RedisError

    from intellicolab.events.models import OutboxRow

    try:
        waiting = {"rows without a position": OutboxRow.objects.filter(position=None).count(), **streams(), **queues()}
    except (RedisError, OSError) as error:
        return str(error)
    return ", ".join(f"{what} {count}" for what, count in waiting.items() if count)


def streams() -> dict[str, int]:
    """What groups have not acknowledged."""
    from django.db.models import Max

    from intellicolab.events.groups import groups
    from intellicolab.events.models import OutboxRow
    from intellicolab.redis import keys
    from intellicolab.redis.client import Role, client

    found: dict[str, int] = {}
    state: Any = client(Role.STATE)
    for group in groups():
        for stream in group.streams:
            newest = OutboxRow.objects.filter(stream=stream).aggregate(newest=Max("position"))["newest"] or 0
            name = keys.event_stream(stream)
            if not state.exists(name):
                found[f"{stream} is not there"] = newest
                continue
            here = next((one for one in state.xinfo_groups(name) if one["name"].decode() == group.name), None)
            last = int(here["last-delivered-id"].split(b"-")[0]) if here else 0
            found[f"{group.name} of {stream}"] = (here["pending"] if here else 0) + max(0, newest - last)
    return found


def queues() -> dict[str, int]:
    from intellicolab.jobs.carrier import PREFIX
    from intellicolab.jobs.figures import queue_figures
    from intellicolab.jobs.worker import queues as all_queues

    found = {}
    for queue in all_queues():
        figures = queue_figures(queue)
        found[f"jobs in {queue.name}"] = figures.waiting + figures.running + figures.scheduled + figures.retrying
        newest = newest_row(PREFIX + queue.backend.alias)
        found["jobs to be carried"] = max(0, newest - queue.backend.store.carried())
    return found


def newest_row(stream: str) -> int:
    from django.db.models import Max

    from intellicolab.events.models import OutboxRow

    return OutboxRow.objects.filter(stream=stream).aggregate(newest=Max("position"))["newest"] or 0


def facts_problems(made):
    """Each fact is a row once, and a line at most once; what is neither is a dead letter."""
    from intellicolab.events.models import DeadLetter

    from . import facts

    rows = Counter(facts.Thing.objects.filter(value=facts.HANDLED).values_list("stamp", flat=True))
    lines = Counter(map(int, facts.lines().read_text().split())) if facts.lines().exists() else Counter()
    dead = {group: set[int]() for group in (facts.ROWS, facts.LINES)}
    for letter in DeadLetter.objects.filter(group__in=dead):
        dead[letter.group].add(json.loads(letter.data)["number"])
    expected = set(range(1, made + 1))
    poison = {number for number in expected if number % POISON == 0}
    problems = [f"fact {n} was handled {count} times" for n, count in rows.items() if count > 1]
    problems += [f"line {n} was written {count} times" for n, count in lines.items() if count > 1]
    problems += different("facts that became rows", expected - poison, set(rows))
    problems += different("facts that died as rows", poison, dead[facts.ROWS])
    problems += different("facts that became lines or died", expected, set(lines) | dead[facts.LINES])
    if len(dead[facts.LINES]) > made / 10:
        problems.append(f"{len(dead[facts.LINES])} lines of {made} are of unknown outcome")
    return problems


def jobs_problems(made):
    """Each job has run, the poisonous have not, and are dead."""
    from intellicolab.jobs import figures

    from . import facts

    ran = set(facts.Thing.objects.filter(value=facts.RAN).values_list("stamp", flat=True))
    dead = figures.dead("default", count=made)
    expected = set(range(1, made + 1)) | set(range(10**6 + 1, 10**6 + made + 1))
    problems = different("jobs that ran", expected, ran)
    poison = [number for number in range(1, made + 1) if number % POISON == 0]
    gone = [row for row in dead if not row.error.startswith("ValueError: poison")]
    problems += [f"a job is dead that should not be: {row}" for row in gone[:3]]
    if len(dead) - len(gone) != len(poison):
        problems.append(f"{len(dead) - len(gone)} jobs are dead of poison, and not {len(poison)}")
    return problems


def mail_problems() -> list[str]:
    from django.contrib.auth import get_user_model

    people = get_user_model().objects.count()
    letters = len(list((Path(os.environ["VAR_DIR"]) / "mail").glob("*.eml")))
    return [] if letters == people else [f"{people} people got {letters} letters"]


def left_over() -> list[str]:
    """Nothing grows: streams are trimmed, and jobs leave no keys behind."""
    from intellicolab.redis.client import Role, client

    deadline = time.monotonic() + 30
    while True:
        state: Any = client(Role.STATE)
        lengths = {key.decode(): state.xlen(key) for key in state.scan_iter("*{events:*", _type="stream")}
        lengths |= {key.decode(): state.xlen(key) for key in state.scan_iter("*{jobs:*", _type="stream")}
        records = [key for key in state.scan_iter("*{jobs:*:job:*") if state.hget(key, "s") != b"failed"]
        long = [f"{key} still holds {length} entries" for key, length in lengths.items() if length > 1]
        if not long and not records:
            return []
        if time.monotonic() > deadline:
            return [*long, *(f"{key!r} is left" for key in records[:3])]
        time.sleep(0.5)


def different(what: str, expected: set[int], found: set[int]) -> list[str]:
    problems = []
    if missing := sorted(expected - found):
        problems.append(f"{what}: {len(missing)} are missing, such as {missing[:5]}")
    if surplus := sorted(found - expected):
        problems.append(f"{what}: {len(surplus)} are too many, such as {surplus[:5]}")
    return problems


if __name__ == "__main__":
    main()
