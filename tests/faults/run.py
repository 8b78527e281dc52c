"""One run: faults while a crowd writes; then quiet, and everybody must have the same room as the database."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass

from realtime.client import Client

from .crowd import Member
from .installation import Installation
from .plan import Faults

CLIENTS = 40
PEOPLE = 8
SETTLE_SECONDS = 90  # for what is on its way at the end; a client may have to wait out its back-off first


@dataclass(frozen=True)
class Report:
    """What a run found; `problems` is empty when nothing was lost, doubled, misplaced or different."""

    problems: list[str]
    messages: int
    changes: int
    faults: Counter[str]

    def __str__(self) -> str:
        faults = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        return f"{self.messages} messages, {self.changes} changes; faults: {faults}"


def run(seconds: float, seed: int, **env: str) -> Report:
    with Installation(**env) as running:
        people = running.site.people(*(f"person{number}" for number in range(PEOPLE)))
        members, done = asyncio.run(_live(running, people, seconds, seed))
        problems = _compare(running, people[0]["room"], members)
        _, version, rows = running.stored(people[0]["room"])
    return Report(problems, len(rows), version, done)


async def _live(
    running: Installation, people: list[dict], seconds: float, seed: int
) -> tuple[list[Member], Counter[str]]:
    members = [_member(running, people, number, seed) for number in range(CLIENTS)]
    over = asyncio.Event()
    await asyncio.gather(*(member.chat.__aenter__() for member in members))
    for member in members:
        member.chat.follow(member.room, version=0)
    faults = Faults(running, members, people[0]["cookie"], seed)
    happening = asyncio.create_task(faults.happen())
    writing = asyncio.gather(*(member.write_until(over) for member in members))
    try:
        await asyncio.wait([happening], timeout=seconds)
        if happening.done():
            happening.result()  # a fault of the plan itself
        over.set()
        happening.cancel()
        await asyncio.wait([happening])
        for web in running.webs:  # one may have been killed and not started again when it was over
            if web.process is not None and web.process.poll() is not None:
                web.start()
        await asyncio.wait_for(writing, SETTLE_SECONDS)
        await asyncio.wait_for(_agree(running, members), SETTLE_SECONDS)
    finally:
        faults.end()
        for member in members:
            await member.chat.close()
    return members, faults.done


def _member(running: Installation, people: list[dict], number: int, seed: int) -> Member:
    person, url = people[number % len(people)], running.urls[number % len(running.urls)]
    chat = Client(url, cookie=person["cookie"])
    return Member(chat, person["room"], f"client{number}", random.Random(seed * 1000 + number))


async def _agree(running: Installation, members: list[Member]) -> None:
    """Wait until every copy is at the room's version; one that never gets there is told by `_compare`."""
    _, version, _ = await asyncio.to_thread(running.stored, members[0].room)
    while any(member.chat.rooms[member.room].version < version for member in members):
        await asyncio.sleep(0.1)


def _compare(running: Installation, room: int, members: list[Member]) -> list[str]:
    last_number, last_version, rows = running.stored(room)
    problems = []
    if [row[0] for row in rows] != list(range(1, last_number + 1)):
        problems.append("the numbers have gaps")
    placed = Counter(row[2] for row in rows)
    numbers = {row[2]: row[0] for row in rows}
    for member in members:
        problems += [f"{client_id} is stored twice" for client_id in member.stored if placed[client_id] > 1]
        problems += [
            f"{client_id} was acknowledged as {number} and is {numbers.get(client_id)}"
            for client_id, number in member.stored.items()
            if numbers.get(client_id) != number
        ]
        problems += [f"{member.name} was refused: {code}" for code in member.refused if code != "deleted"]
        problems += _differences(member, last_version, rows)
    return problems


def _differences(member: Member, version: int, rows: list[list]) -> list[str]:
    """What the member's copy has otherwise than the database, three rows of it at most."""
    copy = member.chat.rooms[member.room]
    if copy.version != version:
        return [f"{member.name} is at version {copy.version}, the room at {version}"]
    theirs = {number: _row(number, message) for number, message in copy.messages.items()}
    ours = {row[0]: [*row[:5], row[5] and not row[4]] for row in rows}
    different = [number for number in sorted(theirs.keys() | ours.keys()) if theirs.get(number) != ours.get(number)]
    return [f"{member.name} has {theirs.get(n)}, the database {ours.get(n)}" for n in different[:3]]


def _row(number: int, message: dict) -> list:
    return [
        number, message["version"], message["id"], message["html"], message.get("deleted", False),
        message.get("edited", False),
    ]  # fmt: skip
