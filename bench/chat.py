"""Deliveries a second with 200 sockets in one room: IntelliColab, durable, against the Channels tutorial's chat.

Ours is a whole installation (sign-in, membership, Markdown, SQLite with synchronous=FULL); the tutorial stores nothing.
One server process on one core; clients, Redis and supervisor on the other.
"""

import json
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.harness.processes import ROOT, free_port, pin_all, python, server
from bench.harness.results import Row, at_least
from bench.harness.rounds import medians
from intellicolab.redis.embedded import EmbeddedServer
from tests.site import Site

SOCKETS = 200
WINDOW = 64  # messages on their way at any moment: enough that no server waits for the next one
SECONDS = 4.0
ROUNDS = 3
SERVER_CORE, CLIENT_CORE = 0, 1
TEXT = "a message of eighty bytes, as people write them in a room, with nothing special."

# Times the tutorial, with the plain `send` of ASGI.
BARS = {"daphne": 6, "uvicorn": 11}
# Each message is decided by its policy as ever, which only admits more than anybody could send.
LIMITS = """
from ratelimit.models import Policy
for policy in Policy.objects.filter(subject__in=["connect", "frame"]):
    policy.limit = "100000" if policy.name == "sockets" else "1000000/s"
    policy.burst = None
    policy.save()
"""
CONDITIONS = (
    f"{SOCKETS} sockets in one room, {len(TEXT)}-byte messages, {WINDOW} on their way, server on one core, clients and "
    f"Redis on another, median of {ROUNDS} interleaved rounds of {SECONDS:.0f} s; ours committed durably, with limits"
)


@contextmanager
def installation(kind: str) -> Iterator[Site]:
    site = Site(kind, SECRET_KEY=secrets.token_urlsafe(50), RATELIMIT="on")
    try:
        site.start()
        site.manage("shell", "-v", "0", "-c", LIMITS)
        pin_all(site.web_pid(), SERVER_CORE)
        pin_all(site.redis_pid(), CLIENT_CORE)
        yield site
        site.stop()
    finally:
        site.remove()


@contextmanager
def tutorial(kind: str) -> Iterator[int]:
    """The port of the tutorial's chat."""
    with tempfile.TemporaryDirectory(prefix="ic-bench-") as folder:
        redis = EmbeddedServer(Path(folder), config=())
        redis.start()
        pin_all(redis.pid or 0, CLIENT_CORE)
        port = free_port()
        environment = {"REDIS_URL": redis.url(), "PORT": str(port)}
        try:
            with server(python("-m", "bench.sites.tutorial", kind), port, core=SERVER_CORE, environment=environment):
                yield port
        finally:
            redis.stop()


def crowd(job: dict) -> float:
    """Deliveries a second that a crowd counts."""
    common = {"sockets": SOCKETS, "window": WINDOW, "seconds": SECONDS}
    command = ["taskset", "-c", str(CLIENT_CORE), *python("-m", "bench.clients.chat")]
    answer = subprocess.check_output(command, cwd=ROOT, input=json.dumps({**common, **job}), text=True, timeout=120)
    return json.loads(answer)["deliveries"]


def measure_ours(kind: str) -> float:
    with installation(kind) as site:
        people = site.people("alice", "bob", "charlie")
        frame = {"type": "message.send", "id": "{id}", "room": people[0]["room"], "text": TEXT}
        return crowd(
            {
                "url": site.socket_url,
                "origin": site.url,
                "cookies": [person["cookie"] for person in people],
                "frame": json.dumps(frame),
                "marker": '"message.new"',
            }
        )


def measure_tutorial(kind: str) -> float:
    with tutorial(kind) as port:
        return crowd(
            {
                "url": f"ws://127.0.0.1:{port}/ws/",
                "origin": f"http://127.0.0.1:{port}",
                "cookies": [],
                "frame": json.dumps({"message": TEXT}),
                "marker": '"message"',
            }
        )


def run() -> list[Row]:
    contenders = {}
    for kind in BARS:
        contenders[f"{kind}, IntelliColab"] = partial(measure_ours, kind)
        contenders[f"{kind}, Channels tutorial"] = partial(measure_tutorial, kind)
    found = medians(contenders, ROUNDS)
    return [row for kind in BARS for row in rows_of(kind, found)]


def rows_of(kind: str, found: dict[str, float]) -> list[Row]:
    ours, theirs = found[f"{kind}, IntelliColab"], found[f"{kind}, Channels tutorial"]
    peers = {"Channels tutorial, nothing stored": theirs}
    return [
        Row(f"{kind}: deliveries", ours, "deliveries/s", peers=peers, conditions=CONDITIONS),
        at_least(f"{kind}: deliveries, against the tutorial", ours / theirs, "times", BARS[kind], {}, CONDITIONS),
    ]
