"""What the head of a request tells, at the ASGI layer: before Django, and where a socket is opened."""

from typing import Any

from django.conf import settings
from django.http import parse_cookie

Scope = dict[str, Any]


def header(scope: Scope, name: bytes) -> str:
    """A field as Django's own request would have it; names are lower case (ASGI). Empty for none."""
    values = [value for key, value in scope["headers"] if key == name]
    return (b"; " if name == b"cookie" else b",").join(values).decode("latin-1") if values else ""


def session_of(scope: Scope) -> str:
    """The session's cookie; empty for none."""
    cookies = header(scope, b"cookie")
    return parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME, "") if cookies else ""


def api_key_of(scope: Scope) -> str:
    """Empty for none."""
    return header(scope, settings.RATELIMIT_API_KEY_HEADER.lower().encode())
