"""Nothing that was acknowledged is lost or doubled when the server process is killed under load."""

import asyncio
import json
import os
import random
import signal
import uuid

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from .site import Site

pytestmark = [pytest.mark.slow, pytest.mark.database]

SOCKETS = 20
MESSAGES = 1000
KILL_AFTER = 300  # acknowledgements


class Sender:
    """A client that sends its messages one after another and sends again, with the same id, what got no answer."""

    def __init__(self, site, person, texts, tally):
        self.site, self.person, self.tally = site, person, tally
        self.waiting = [(str(uuid.uuid4()), text) for text in texts]
        self.acknowledged = {}

    async def run(self):
        while self.waiting:
            try:
                await self.session()
            except (OSError, WebSocketException, EOFError, TimeoutError):
                await asyncio.sleep(random.uniform(0.05, 0.3))

    async def session(self):
        headers = {"Cookie": self.person["cookie"]}
        async with connect(self.site.socket_url, origin=self.site.url, additional_headers=headers) as socket:
            while self.waiting:
                frame_id, text = self.waiting[0]
                frame = {"type": "message.send", "id": frame_id, "room": self.person["room"], "text": text}
                await socket.send(json.dumps(frame))
                self.acknowledged[frame_id] = await asyncio.wait_for(self.answer(socket, frame_id), 10)
                self.waiting.pop(0)
                await self.tally()

    @staticmethod
    async def answer(socket, frame_id):
        async for text in socket:
            frame = json.loads(text)
            if frame.get("id") == frame_id and frame["type"] in ("message.ack", "error"):
                assert frame["type"] == "message.ack", frame
                return frame["number"]
        raise EOFError


async def send_all(site, people):
    done = 0
    web = site.web_pid()

    async def tally():
        nonlocal done
        done += 1
        if done == KILL_AFTER:
            os.kill(web, signal.SIGKILL)

    share = MESSAGES // SOCKETS
    senders = [
        Sender(site, people[n % len(people)], [f"message {n}.{m}" for m in range(share)], tally) for n in range(SOCKETS)
    ]
    await asyncio.wait_for(asyncio.gather(*(sender.run() for sender in senders)), 120)
    assert web not in [child.pid for child in site.children()]  # the premise: it was killed, and another one runs
    return {frame_id: number for sender in senders for frame_id, number in sender.acknowledged.items()}


def stored(site, room):
    """(client id, number) of each message, in order, as another process reads it from the database."""
    code = (
        "import json; from realtime.models import Message; "
        f"rows = Message.objects.filter(room={room}).order_by('number').values_list('client_id', 'number'); "
        "print('ROWS' + json.dumps([[str(client_id), number] for client_id, number in rows]))"
    )
    result = site.manage("shell", "-v", "0", "-c", code)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.rpartition("ROWS")[2])


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_a_kill_under_load_loses_and_doubles_nothing(server, site_database):
    site = Site(server, **site_database)
    try:
        site.start()
        people = site.people(*(f"person{n}" for n in range(5)))
        acknowledged = asyncio.run(send_all(site, people))
        site.stop()
        rows = stored(site, people[0]["room"])
    finally:
        site.remove()
    assert len(acknowledged) == MESSAGES
    assert dict(rows) == acknowledged
    assert [number for _, number in rows] == list(range(1, MESSAGES + 1))
