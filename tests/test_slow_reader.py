"""A client that does not read is closed before it costs memory, and costs the others nothing."""

import asyncio
import contextlib
import json
import socket
import uuid

import pytest
from websockets.asyncio.client import connect

from realtime.errors import TOO_SLOW

from .site import Site

pytestmark = pytest.mark.slow

TEXT = "x" * 7900
CLOSE_FRAME = b"\x88\x02" + TOO_SLOW.to_bytes(2)
MESSAGES = 1200  # 9.5 MB: more than what the kernel's buffers (4 MB) and our bound (1 MB) hold together


def open_without_reading(site, person):
    """A socket that has finished its handshake and reads nothing more."""
    client = socket.create_connection(("127.0.0.1", site.port), timeout=60)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    lines = [
        "GET /ws/ HTTP/1.1", f"Host: 127.0.0.1:{site.port}", f"Origin: {site.url}", f"Cookie: {person['cookie']}",
        "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
    ]  # fmt: skip
    client.sendall("\r\n".join(lines).encode())
    assert b"101" in client.recv(64)
    return client


async def talk(site, person):
    """Send all messages and read everything that comes: the numbers of the messages heard."""
    headers = {"Cookie": person["cookie"]}
    heard = []
    async with connect(site.socket_url, origin=site.url, additional_headers=headers, max_size=None) as client:
        sent = 0

        async def send_all():
            nonlocal sent
            for _ in range(MESSAGES):
                while sent - len(heard) > 100:  # beyond 200 unanswered ones the server says "busy"
                    await asyncio.sleep(0.002)
                frame = {"type": "message.send", "id": uuid.uuid4().hex, "room": person["room"], "text": TEXT}
                await client.send(json.dumps(frame))
                sent += 1

        sending = asyncio.create_task(send_all())
        async for text in client:
            frame = json.loads(text)
            if frame["type"] == "message.new":
                heard.append(frame["number"])
            if len(heard) == MESSAGES:
                break
        await sending
    return heard


def until_the_end(client):
    """(bytes, the last of them) that still come before the connection ends; TimeoutError if it never does."""
    total, end = 0, b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(1 << 16):
            total += len(data)
            end = (end + data)[-4:]
    return total, end


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_a_client_that_does_not_read_is_told_to_resume_and_delays_nobody(server):
    site = Site(server)
    try:
        site.start()
        alice, bob = site.people("alice", "bob")
        with open_without_reading(site, bob) as stuck:
            heard = asyncio.run(asyncio.wait_for(talk(site, alice), 100))
            assert heard == list(range(1, MESSAGES + 1))
            size, end = until_the_end(stuck)
            assert size < MESSAGES * len(TEXT) * 0.8
            assert end == CLOSE_FRAME
        assert site.is_up()
        assert site.output.count("A socket that does not read is closed") == 1
        site.stop()
    finally:
        site.remove()
