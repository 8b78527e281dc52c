"""Who opens a socket: the person of its session cookie, and only from our own pages.

A browser sends cookies with a WebSocket of any page, so the Origin header is what keeps another site from opening one
in a visitor's name (cross-site WebSocket hijacking).
"""

from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, parse_cookie
from django.http.request import split_domain_port, validate_host

from accounts.models import User


def header(scope: dict[str, Any], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


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


def person_of(scope: dict[str, Any]) -> User | None:
    """The active person signed in by the socket's cookie. Blocks; raises SessionUnavailable when Redis is away."""
    key = parse_cookie(header(scope, b"cookie")).get(settings.SESSION_COOKIE_NAME)
    if not key:
        return None
    session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    request = HttpRequest()
    request.session = session
    user = get_user(request)
    return user if isinstance(user, User) and user.is_active else None
