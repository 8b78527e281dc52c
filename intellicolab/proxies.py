"""Who is really there, behind the proxies: settled once, at the ASGI layer, for HTTP and WebSocket alike.

The servers' own handling of these headers stays off: uvicorn's would believe anyone on loopback.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from ratelimit.address import TrustedProxies, normal

Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

# What a proxy may say about the client. From anyone else it is a forgery and goes no further.
FORWARDED = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto", b"x-real-ip"}
)
SECURE = {"http": "https", "https": "https", "ws": "wss", "wss": "wss"}
PLAIN = {secure: plain for plain, secure in SECURE.items() if plain != secure}


class ProxyHeaders:
    """Sets `scope["client"]` and `scope["scheme"]` from the headers of proxies in TRUSTED_PROXIES, of no one else."""

    def __init__(self, application: Application, trusted: Iterable[str]) -> None:
        self.application = application
        self.trusted = TrustedProxies.parse(trusted)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await self.application(self.settled(scope), receive, send)

    def settled(self, scope: Scope) -> Scope:
        """A copy of the scope in which client, scheme and headers are what we believe."""
        peer, port = scope.get("client") or ("", 0)
        if not self.trusted.trusts(peer):
            return {
                **scope,
                "client": (normal(peer), port) if peer else None,
                "headers": [pair for pair in scope["headers"] if pair[0].lower() not in FORWARDED],
                # Daphne lets any client set this with a header, and with it the links in the mail that we send.
                "root_path": "",
            }
        address = self.trusted.client(peer, _values(scope, b"x-forwarded-for"))
        client = (address, port if address == normal(peer) else 0) if address else None
        return {**scope, "client": client, "scheme": _scheme(scope)}


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin1") for key, value in scope["headers"] if key.lower() == name]


def _scheme(scope: Scope) -> str:
    said = ",".join(_values(scope, b"x-forwarded-proto")).rpartition(",")[2].strip().lower()
    scheme: str = scope.get("scheme", "http")
    if said in ("https", "wss"):
        return SECURE.get(scheme, scheme)
    if said in ("http", "ws"):
        return PLAIN.get(scheme, scheme)
    return scheme
