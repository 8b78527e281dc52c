"""A large crowd that says nothing: it grows, and loses all of its sockets at once and comes back."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable

from picows import WSError

from bench.clients.sockets import CONNECT_SECONDS, Member, connect, gather

crowd: list["Idler"] = []  # stays between jobs


class Idler(Member):
    """Knows the room's version when it was opened, and can ask what has changed since."""

    def __init__(self, job: dict) -> None:
        super().__init__(job)
        self.resumed: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def version(self, room: int) -> int:
        return json.loads(self.joined.result())["rooms"][str(room)]

    async def resume(self, room: int, version: int) -> None:
        self.send(json.dumps({"type": "room.resume", "room": room, "version": version}))
        await asyncio.wait_for(self.resumed, CONNECT_SECONDS)

    def answered(self, payload: bytes) -> None:
        super().answered(payload)
        if payload.startswith(b'{"type":"room.changes"') and not self.resumed.done():
            self.resumed.set_result(payload)


async def grow(job: dict, go: Callable[[], None]) -> dict:
    """Open sockets until there are so many; or close them. job: {"sockets"}. Result: {"sockets": how many are open}."""
    go()
    crowd.extend(await gather(job, Idler, range(len(crowd), job["sockets"])))
    for member in crowd[job["sockets"] :]:
        member.leave()
    del crowd[job["sockets"] :]
    await asyncio.sleep(0.1)
    return {"sockets": sum(not member.lost for member in crowd)}


async def reconnect(job: dict, go: Callable[[], None]) -> dict:
    """All are cut, connect at once and each resumes the room from where it was. job: {"room"}.

    Result: {"began", "ended": by the machine's monotonic clock; "errors": {what went wrong: how often}}.
    """
    versions = [member.version(job["room"]) for member in crowd]
    go()
    await asyncio.sleep(1)
    for member in crowd:
        member.leave()
    crowd[:] = [Idler(job) for _ in versions]
    began = time.monotonic()
    came = await asyncio.gather(*(back(job, number, version) for number, version in enumerate(versions)))
    ended = time.monotonic()
    return {"began": began, "ended": ended, "errors": Counter(error for error in came if error)}


async def back(job: dict, number: int, version: int) -> str:
    """What went wrong, or nothing."""
    member = crowd[number]
    try:
        await connect(job, member, number)
        await member.resume(job["room"], version)
    except (WSError, OSError, TimeoutError) as error:
        return type(error).__name__
    return "closed" if member.lost else "error frame" if member.errors else ""
