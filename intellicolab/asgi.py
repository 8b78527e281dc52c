"""What the server runs: HTTP and WebSocket, each with the client's true address; static files before Django."""

import asyncio
import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "intellicolab.settings")
django.setup()

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402  models can be imported only after the set-up
from django.conf import settings  # noqa: E402
from django.urls import re_path  # noqa: E402

from ratelimit.shield import Shield  # noqa: E402
from realtime.routing import websocket_urlpatterns  # noqa: E402

from . import threads  # noqa: E402
from .assets import StaticFiles  # noqa: E402
from .http import OneHopHandler  # noqa: E402
from .policy import security_headers  # noqa: E402
from .proxies import ProxyHeaders  # noqa: E402


async def lifespan(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """uvicorn announces its start and end (Daphne does not): at the end the threads close their connections."""
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await asyncio.to_thread(threads.close)
    await send({"type": "lifespan.shutdown.complete"})


async def no_socket_here(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """403 for every other path; the router would raise, and anybody could fill the log with tracebacks."""
    await receive()
    await send({"type": "websocket.close"})


sockets = URLRouter([*websocket_urlpatterns, re_path("", no_socket_here)])  # type: ignore[arg-type]
application = ProtocolTypeRouter(
    {
        "lifespan": lifespan,
        "http": ProxyHeaders(StaticFiles(Shield(OneHopHandler(), security_headers)), settings.TRUSTED_PROXIES),
        "websocket": ProxyHeaders(Shield(sockets, security_headers), settings.TRUSTED_PROXIES),
    }
)
