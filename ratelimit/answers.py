"""What whoever is refused gets to read: a page that counts down for browsers, a problem (RFC 9457) for programs.

Made of nothing but the outcome, so that it can be sent before Django is entered as well.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.template.loader import render_to_string

from . import headers
from .gate import Outcome

PROBLEMS = "https://iana.org/assignments/http-problem-types#"

HTML, PROBLEM = "text/html; charset=utf-8", "application/problem+json"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def answer(outcome: Outcome, *, html: bool) -> Answer:
    """To a request that was refused."""
    fields = {
        "Content-Type": HTML if html else PROBLEM,
        "Cache-Control": "no-store",
        "Vary": "Accept",
        **headers.fields(outcome),
    }
    seconds = headers.retry_after(outcome)
    status = status_of(outcome)
    body = page(getattr(settings, "SITE_NAME", ""), status, seconds) if html else problem(outcome, status, seconds)
    return Answer(status, fields, body)


def status_of(outcome: Outcome) -> int:
    """403 for who is kept out, 503 where nobody can tell, 429 for what was too much (RFC 6585)."""
    if outcome.denied:
        return 403
    return 503 if outcome.unanswered else 429


@lru_cache(maxsize=512)
def page(site_name: str, status: int, seconds: int | None) -> bytes:
    """Rendered without the request, whose context processors would read the session and the user."""
    context = {"site_name": site_name, "status": status, "seconds": seconds}
    return render_to_string("ratelimit/limited.html", context).encode()


def problem(outcome: Outcome, status: int, seconds: int | None) -> bytes:
    """The members of the draft's section 5, and `error` and `retryAfter` for whoever knows no more than those."""
    kind, title, detail = _WORDS[status]
    members: dict[str, Any] = {"type": kind, "title": title, "status": status}
    members["detail"] = detail if seconds is None else f"{detail} You can go on in {seconds} s."
    if outcome.refusing:
        members["violated-policies"] = headers.names(outcome.refusing)
    members["error"] = title
    if seconds is not None:
        members["retryAfter"] = seconds
    return json.dumps(members).encode()


_WORDS = {
    403: ("about:blank", "Forbidden", "This address or account was shut out by an administrator."),
    429: (PROBLEMS + "quota-exceeded", "Too many requests", "This was more than the limit allows, and was not done."),
    503: (
        PROBLEMS + "temporary-reduced-capacity",
        "Temporarily unavailable",
        "Whether this is within the limit can't be told just now, so it was not done.",
    ),
}


@lru_cache(maxsize=512)
def prefers_html(accept: str) -> bool:
    """By its `Accept` header. Who takes anything, as programs do, gets JSON."""
    request = HttpRequest()
    request.META["HTTP_ACCEPT"] = accept
    try:
        return request.get_preferred_type(["application/json", "text/html"]) == "text/html"
    except ValueError:  # Django's parser knows no better for parameters such as x*=idna''%ff.
        return False
