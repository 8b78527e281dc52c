"""Who opens a socket: the person of its session cookie, and only from our own pages.

A browser sends cookies with a WebSocket of any page, so the Origin header is what keeps another site from opening one
in a visitor's name (cross-site WebSocket hijacking).
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host

from accounts import devices, last_seen
from accounts.models import User
from accounts.sessions import SessionStore
from intellicolab.threads import run
from ratelimit.caller import Member
from ratelimit.scopes import api_key_of, header, session_of
from ratelimit.sockets import SocketLimits

from . import queries


def is_same_origin(scope: dict[str, Any]) -> bool:
    """Whether the page that opens the socket came from the host, port included, that it connects to."""
    host, origin = header(scope, b"host"), header(scope, b"origin")
    domain, _port = split_domain_port(host)
    if not validate_host(domain, settings.ALLOWED_HOSTS):
        return False
    return _netloc(origin) == host.lower() or origin in settings.CSRF_TRUSTED_ORIGINS


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # such as "http://["
        return None


@dataclass(frozen=True, slots=True)
class Visitor:
    """An active person, signed in by the session with this hash, and their rooms: {room: membership}."""

    user: User
    session: str
    rooms: dict[int, int]


async def visitor_of(scope: dict[str, Any]) -> Visitor | None:
    """Who is signed in by the socket's cookie. Raises SessionUnavailable when Redis is away, DatabaseError."""
    key = session_of(scope)
    if not key:
        return None
    session = SessionStore(key)
    await session.apreload()
    return await run(_visitor_with, session)


def _visitor_with(session: SessionStore) -> Visitor | None:
    request = HttpRequest()
    request.session = session
    user = get_user(request)
    if not isinstance(user, User) or not user.is_active or session.hash is None:
        return None
    return Visitor(user, session.hash, queries.memberships_of(user.pk))


def limits_of(scope: dict[str, Any], user_id: int | None) -> SocketLimits:
    """What the limits admit on a socket of that person; None as long as nobody has signed in."""
    address, _port = scope.get("client") or ("", 0)
    return SocketLimits(Member(user_id, address, session_of(scope), api_key_of(scope)), scope["path"])


def note_use(scope: dict[str, Any], user_id: int, session: str) -> None:
    """Have the list of the person's devices say that this one is in use, and others that they are here. Blocks."""
    address, _port = scope.get("client") or ("", 0)
    devices.touch(user_id, session, header(scope, b"user-agent"), address)
    last_seen.note(user_id)
