"""Servers of one chat room, each on the server's core with its Redis on the clients', and how clients speak to them.

Ours take a while to start, so they stay until the end of the run: they cost nothing while others are measured. A peer
is started for each measurement and then killed, with whatever it still has to deliver.
"""

import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench.chats.people import Population
from bench.harness import peers
from bench.harness.crew import Crew, crew
from bench.harness.processes import free_port, pin_all, python, server, wait_until_idle
from intellicolab.redis.embedded import EmbeddedServer
from tests.site import Site

SERVER_CORE, CLIENT_CORE = 0, 1
KINDS = ("daphne", "uvicorn")
PEOPLE, ROOMS = 1000, 2  # one room for what is stored, one for what is not
TEXT = "a message of eighty bytes, as people write them in a room, with nothing special."
MARKER = '{"type":"message.new"'
SOCKETIO, PYTHON_SOCKETIO = "Socket.IO on Node", "python-socketio"
ECHO = "picows echo"

# Each message is decided by its policy as ever, which only admits more than anybody could send.
LIMITS = """
from django.db.models import Q
from ratelimit.models import Policy
for policy in Policy.objects.filter(Q(subject__in=["connect", "frame"]) | Q(name="authenticated")):
    policy.limit = "100000" if policy.name == "sockets" else "1000000/s"
    policy.burst = None
    policy.save()
"""


@dataclass(frozen=True)
class Place:
    """`pid` serves; `job` is what `bench.clients.sockets` has to know of it; `site` and `rooms` are ours only."""

    pid: int
    job: dict[str, Any]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    site: Site | None = None
    rooms: list[int] = field(default_factory=list)

    @contextmanager
    def clients(self, size: int = 1) -> Iterator[Crew]:
        """Client processes; when the block is left, the server is done with them."""
        os.sync()  # or what an earlier part wrote goes to the disk in the middle of this one, and a commit waits 100 ms
        with crew("bench.clients.chat", size, self.environment, CLIENT_CORE) as made:
            yield made
        if self.site is not None:
            wait_until_idle(self.pid)

    def ask(self, **job: Any) -> dict:
        """The result of one client's job."""
        with self.clients() as crowd:
            return crowd.do([{**self.job, **job}])[0]


def ours(kind: str) -> str:
    return f"{kind}, IntelliColab"


def tutorial(kind: str) -> str:
    return f"{kind}, Channels tutorial"


class Places(ExitStack):
    """Our installations, by the kind of their server, each started when it is first asked for; and peers."""

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[str, Place] = {}

    def __getitem__(self, kind: str) -> Place:
        if kind not in self._open:
            self._open[kind] = self.enter_context(installation(kind, PEOPLE, ROOMS))
        return self._open[kind]

    def ask(self, name: str, **job: Any) -> dict:
        """The result of one client's job at `ours(kind)` or at a peer."""
        kinds = {ours(kind): kind for kind in KINDS}
        if name in kinds:
            return self[kinds[name]].ask(**job)
        with PEERS[name]() as place:
            return place.ask(**job)


@contextmanager
def installation(kind: str, people: int, rooms: int) -> Iterator[Place]:
    """Ours: a whole installation, durable and with limits, on Daphne or uvicorn; each of the people is in each room."""
    site = Site(
        kind,
        SECRET_KEY=secrets.token_urlsafe(50),
        RATELIMIT="on",
        LOG_LEVEL="WARNING",
        DJANGO_SETTINGS_MODULE="intellicolab.settings",
    )
    try:
        site.start()
        checked(site, LIMITS)
        population = Population(site, people, rooms)
        for child in site.children():
            pin_all(child.pid, SERVER_CORE if child.pid == site.web_pid() else CLIENT_CORE)
        frame = {"type": "message.send", "id": "{id}", "room": population.rooms[0], "text": TEXT}
        job = {"url": site.socket_url, "origin": site.url, "cookies": population.cookies, "frame": json.dumps(frame)}
        spoken = {**job, "marker": MARKER, "joined": '{"type":"hello"'}
        yield Place(site.web_pid(), spoken, site.env, site, population.rooms)
        site.stop()
    finally:
        site.remove()


def checked(site: Site, code: str) -> None:
    done = site.manage("shell", "-v", "0", "-c", code)
    assert done.returncode == 0, done.stderr


@contextmanager
def peer(command: list[str], path: str, frame: str, marker: str, joined: str = "") -> Iterator[Place]:
    """A server that is one process, with a Redis of its own. Its environment holds REDIS_URL, REDIS_SOCKET and PORT."""
    with tempfile.TemporaryDirectory(prefix="ic-bench-") as folder:
        redis = EmbeddedServer(Path(folder), config=())
        redis.start()
        pin_all(redis.pid or 0, CLIENT_CORE)
        port = free_port()
        environment = {"REDIS_URL": redis.url(), "REDIS_SOCKET": str(redis.socket), "PORT": str(port)}
        url, origin = f"ws://127.0.0.1:{port}{path}", f"http://127.0.0.1:{port}"
        job = {"url": url, "origin": origin, "cookies": [], "frame": frame, "marker": marker, "joined": joined}
        try:
            with server(command, port, core=SERVER_CORE, environment=environment) as child:
                yield Place(child.pid, job)
                child.kill()
        finally:
            redis.stop()


JSON_FRAME, JSON_MARKER = json.dumps({"message": TEXT}), '{"message"'
EVENT, EVENT_MARKER = "42" + json.dumps(["message", TEXT]), '42["message"'
ENGINE_PATH = "/socket.io/?EIO=4&transport=websocket"


def node() -> AbstractContextManager[Place]:
    peers.install_node()
    return peer(["node", "bench/sites/socketio.mjs"], ENGINE_PATH, EVENT, EVENT_MARKER, "40{")


def python_socketio() -> AbstractContextManager[Place]:
    return peer(python("-m", "bench.sites.socketio"), ENGINE_PATH, EVENT, EVENT_MARKER, "40{")


def echo() -> AbstractContextManager[Place]:
    return peer(python("-m", "bench.sites.echo"), "/", JSON_FRAME, JSON_MARKER)


def channels_tutorial(kind: str) -> AbstractContextManager[Place]:
    return peer(python("-m", "bench.sites.tutorial", kind), "/ws/", JSON_FRAME, JSON_MARKER)


PEERS: dict[str, Callable[[], AbstractContextManager[Place]]] = {
    **{tutorial(kind): partial(channels_tutorial, kind) for kind in KINDS},
    SOCKETIO: node,
    PYTHON_SOCKETIO: python_socketio,
    ECHO: echo,
}
