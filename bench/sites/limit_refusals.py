"""The project's own application with its shield, and the same without: there the middleware refuses."""

from typing import Any

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler

from intellicolab.asgi import application  # sets Django up
from intellicolab.assets import StaticFiles
from intellicolab.http import OneHopHandler
from intellicolab.proxies import ProxyHeaders
from intellicolab.redis.client import READ_TIMEOUT, Purpose

READ_TIMEOUT[Purpose.FAST] = 10.0  # a busy machine lets nothing fail open

BODY = b"No.\n"
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))]


async def bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Without a limiter, and without Django: what the server itself costs."""
    await send({"type": "http.response.start", "status": 429, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


with_shield = application
without_shield = ProxyHeaders(StaticFiles(OneHopHandler()), settings.TRUSTED_PROXIES)
in_django = ProxyHeaders(StaticFiles(ASGIHandler()), settings.TRUSTED_PROXIES)
