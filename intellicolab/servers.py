"""The two ASGI servers, each set up the same way: no proxy headers of their own, bounded frames, a clean stop."""

import gc
import sys
from typing import Any

import uvicorn

from realtime import notes
from realtime.committer import committer
from realtime.publisher import publisher

from . import threads
from .asgi import application
from .cache.tracking import tracker
from .redis.client import close
from .redis.counters import counters

# Bytes of one frame at the server; the consumer refuses what is above its own, smaller bound with an error frame.
MAX_FRAME_BYTES = 1024 * 1024
PING_SECONDS = 20
# Connections that may wait to be accepted. Twisted's own 50 are full at once when a crowd reconnects, and who finds
# them full tries again after 1, 3, 7, 15, 31 seconds: 600 sockets took 56 s, and take 6.
BACKLOG = 2048
STOP_SECONDS = 5
# Python's are 700, 10, 10: new objects, and how many collections of one generation before the next one's.
COLLECT_AFTER = (50_000, 20, 50)
# For this long a thread that computes may keep the others waiting; Python's own is 5 ms. A commit gives way some twenty
# times, at each call of the database, and on a busy server it then waited for several threads each time.
SWITCH_SECONDS = 0.0005


def run_daphne(host: str, port: int) -> None:
    # Importing Daphne's server installs Twisted's asyncio reactor, which must not happen in other commands.
    from daphne.endpoints import build_endpoint_description_strings

    from .daphne_server import Server

    endpoints = build_endpoint_description_strings(host=host, port=port)
    Server(
        application=application,
        endpoints=[f"{endpoint}:backlog={BACKLOG}" for endpoint in endpoints],
        server_name="",
        ping_interval=PING_SECONDS,
        websocket_timeout=-1,  # a chat socket may stay open for days
        websocket_max_message_size=MAX_FRAME_BYTES,
        websocket_max_frame_size=MAX_FRAME_BYTES,
        application_close_timeout=STOP_SECONDS,
    ).run()


def run_uvicorn(host: str, port: int) -> None:
    from .uvicorn_server import Protocol

    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "backlog": BACKLOG,
        "proxy_headers": False,  # its default believes any X-Forwarded-For that comes over loopback
        "server_header": False,
        "access_log": False,
        "log_config": None,
        "http": "httptools",
        "ws": Protocol,
        "ws_max_size": MAX_FRAME_BYTES,
        "ws_ping_interval": PING_SECONDS,
        "ws_per_message_deflate": False,  # a frame goes to everyone as the same bytes
        "timeout_graceful_shutdown": STOP_SECONDS,
    }
    uvicorn.Server(uvicorn.Config(application, **options)).run()


SERVERS = {"daphne": run_daphne, "uvicorn": run_uvicorn}


def serve(server: str, host: str, port: int) -> None:
    """Run one web process until SIGINT or SIGTERM; what waits is committed and published before it returns."""
    spare_the_collector()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        SERVERS[server](host, port)
    finally:
        drain()


def spare_the_collector() -> None:
    """Let the garbage collector look less often, and never again at what was imported.

    Each open socket is some hundred objects that stay. With Python's own thresholds a crowd that connects has them all
    looked through again and again, and everybody waits meanwhile; what becomes garbage here is mostly freed by its
    reference counts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def drain() -> None:
    """In the order in which work flows: requests, messages to the database, news to Redis, statistics, connections."""
    notes.drain()
    threads.close()
    committer.drain()
    publisher.stop()
    counters.stop()
    tracker.close()
    close()
