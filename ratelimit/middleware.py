"""The first rule: so many requests a minute from one client address, before sessions or the database."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers

from intellicolab.redis.counters import counters

from .identity import address_identity
from .limiter import Limiter
from .rules import Decision, Rule

# A monitor must learn the truth however busy its neighbours behind one address are.
EXEMPT = frozenset({"/healthz", "/readyz"})


class RateLimitMiddleware:
    """Answers 429 over the limit. When Redis is away requests pass: a site without limits beats no site.

    Runs before authentication and never reads `request.user`: that would cost a query a request. Static
    files are served before Django is entered, so they are not counted. RATELIMIT_REQUESTS=0 switches the rule off.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.limiter = Limiter()
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if iscoroutinefunction(self):
            return self._acall(request)
        if not applies(request):
            return self.get_response(request)
        decision = self.limiter.check(*question(request))
        count(decision)
        if decision is None or decision.allowed:
            return self.get_response(request)
        return refusal(request, decision)

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        if not applies(request):
            return await self.get_response(request)
        decision = await self.limiter.acheck(*question(request))
        count(decision)
        if decision is None or decision.allowed:
            return await self.get_response(request)
        return refusal(request, decision)


def applies(request: HttpRequest) -> bool:
    return settings.RATELIMIT_REQUESTS > 0 and request.path_info not in EXEMPT


def question(request: HttpRequest) -> tuple[Rule, str]:
    """The rule and the identity that a request is counted against."""
    return Rule("address", settings.RATELIMIT_REQUESTS), address_identity(request.META.get("REMOTE_ADDR", ""))


def count(decision: Decision | None) -> None:
    """For the dashboard; added up in process, so it costs the request no round trip."""
    if decision is None:
        counters.add("limit", "failed_open")
    else:
        counters.add("limit", "allowed" if decision.allowed else "refused")


def refusal(request: HttpRequest, decision: Decision) -> HttpResponse:
    """429 with Retry-After: a page for who prefers HTML, else JSON."""
    seconds = decision.retry_after
    response: HttpResponse
    if request.get_preferred_type(["application/json", "text/html"]) == "text/html":
        # Rendered without the request: its context processors would read the session and the user.
        page = render_to_string("ratelimit/limited.html", {"site_name": settings.SITE_NAME, "seconds": seconds})
        response = HttpResponse(page, status=429)
    else:
        response = JsonResponse({"error": "Too many requests", "retryAfter": seconds}, status=429)
    response["Retry-After"] = str(seconds)
    response["Cache-Control"] = "no-store"
    patch_vary_headers(response, ["Accept"])
    # Django logs each answer above 399: a flood would fill the disk with lines. The dashboard counts them.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response
