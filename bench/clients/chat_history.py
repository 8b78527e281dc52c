"""How long it takes to open a room: its page, a page of its history as JSON, what changed lately over the socket."""

import asyncio
import http.client
import json
import time
from collections.abc import Callable

from bench.clients.sockets import Member, gather


class Reader(Member):
    """Asks what changed in a room, and waits for the answer."""

    async def changes(self, room: int, version: int) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.send(json.dumps({"type": "room.resume", "room": room, "version": version}))
        await self.answer

    def answered(self, payload: bytes) -> None:
        if payload.startswith(b'{"type":"presence"'):
            return  # who came and went is told at any time
        assert payload.startswith(b'{"type":"room.changes"'), payload[:200]
        self.answer.set_result(payload)


async def open_rooms(job: dict, go: Callable[[], None]) -> dict:
    """The rooms take turns. job: {"rooms": {name: [id, version]}, "rounds", "host"}.

    Result: {what: {name: [seconds ..]}}.
    """
    reader = (await gather(job, Reader, [0]))[0]
    site = http.client.HTTPConnection(job["host"])
    found: dict[str, dict[str, list[float]]] = {}
    go()
    for _ in range(job["rounds"]):
        for name, (room, version) in job["rooms"].items():
            for what, path in {"page": f"/rooms/{room}/", "history": f"/rooms/{room}/messages"}.items():
                note(found, what, name, fetched(site, path, job["cookies"][0]))
            began = time.perf_counter()
            await reader.changes(room, version)
            note(found, "resume", name, time.perf_counter() - began)
    reader.leave()
    site.close()
    return found


def note(found: dict[str, dict[str, list[float]]], what: str, name: str, seconds: float) -> None:
    found.setdefault(what, {}).setdefault(name, []).append(seconds)


def fetched(site: http.client.HTTPConnection, path: str, cookie: str) -> float:
    """Seconds until the whole answer was there."""
    began = time.perf_counter()
    site.request("GET", path, headers={"Cookie": cookie})
    answer = site.getresponse()
    body = answer.read()
    took = time.perf_counter() - began
    assert answer.status == 200, (path, answer.status, body[:200])
    return took
