"""Error pages in the site's own layout, or JSON for clients that prefer it.

All are rendered without the request: the context processors would read the session and the user, and what failed may
be just those.
"""

from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers

SESSION_RETRY_AFTER = 5  # seconds; an embedded Redis is restarted by its supervisor within that time


class SessionOutage(HttpResponse):
    """The 503 for a session store that does not answer; the session middleware sends it without any cookie."""


def wants_json(request: HttpRequest) -> bool:
    """Whether the client would rather have JSON than a page, by its Accept header (RFC 9110, section 12.5.1)."""
    return request.get_preferred_type(["application/json", "text/html"]) != "text/html"


def error_response(
    request: HttpRequest, status: int, title: str, detail: str, template: str | None = None
) -> HttpResponse:
    """An answer that says what happened and what to do; `template` defaults to `errors/<status>.html`."""
    response: HttpResponse
    if wants_json(request):
        response = JsonResponse({"error": title, "detail": detail}, status=status)
    else:
        context = {"site_name": settings.SITE_NAME, "status": status, "title": title, "detail": detail}
        response = HttpResponse(render_to_string(template or f"errors/{status}.html", context), status=status)
    response["Cache-Control"] = "no-store"
    patch_vary_headers(response, ["Accept"])
    return response


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(
        request,
        400,
        "That request was not understood",
        "Something in it is missing, malformed or too large. Go back, reload the page and try again.",
    )


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(request, 403, "You may not do that", _words_of(exception))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(
        request,
        404,
        "There is nothing here",
        "The address may be mistyped, or what was here is gone or not open to you.",
    )


def server_error(request: HttpRequest) -> HttpResponse:
    return error_response(
        request,
        500,
        "Something went wrong on our side",
        "The error has been logged. Try again in a moment; if it stays, tell your administrator.",
    )


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """In place of Django's page, whose inline style the content security policy forbids."""
    return error_response(
        request,
        403,
        "That form could not be checked",
        "It was open for too long, you signed in or out in another tab, or your browser blocks cookies. "
        "Go back, reload the page and send it again.",
        template="errors/csrf.html",
    )


def session_outage(request: HttpRequest) -> SessionOutage:
    """503 while sessions cannot be read or written. Nobody is signed out by it."""
    page = error_response(
        request,
        503,
        "The site is catching its breath",
        "The store that remembers who is signed in does not answer. Nobody has been signed out. "
        f"Try again in {SESSION_RETRY_AFTER} seconds.",
    )
    response = SessionOutage(page.content, status=503, headers=dict(page.items()))
    response["Retry-After"] = str(SESSION_RETRY_AFTER)
    return response


def _words_of(exception: Exception) -> str:
    """What `PermissionDenied("…")` says; of other exceptions nothing, because they may tell too much."""
    words: Any = exception.args[0] if isinstance(exception, PermissionDenied) and exception.args else ""
    return str(words) or "Your account has no permission for it. An administrator can give it to you."
