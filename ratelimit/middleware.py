"""Every request is decided here before its view is called, sync inside one thread or on an event loop.

It stands after the session's middleware, because some policies ask who is signed in; `request.user`, which is a query,
is never read. Static files are served before Django is entered, so they are not counted.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from . import answers, headers
from .caller import Visitor
from .gate import Outcome, adecide, decide
from .limits import Refused, noted
from .matching import REQUEST, Occasion


class RateLimitMiddleware:
    """Answers what is refused, and tells the others what they have left."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if self._is_async:
            return self._acall(request)
        if is_exempt(request.path_info):
            return self.get_response(request)
        outcome = decide(Occasion(REQUEST, request.path_info, request.method or ""), Visitor(request))
        return told(request, self.get_response(request), outcome) if outcome.admitted else refused(request, outcome)

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        if is_exempt(request.path_info):
            return await self.get_response(request)
        outcome = await adecide(Occasion(REQUEST, request.path_info, request.method or ""), Visitor(request))
        if not outcome.admitted:
            return refused(request, outcome)
        return told(request, await self.get_response(request), outcome)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """For views that call `limits.enforce`."""
        return refused(request, exception.outcome) if isinstance(exception, Refused) else None


def is_exempt(path: str) -> bool:
    """A monitor must learn the truth however busy its neighbours behind one address are."""
    return path in _exempt()


@cache
def _exempt() -> frozenset[str]:
    """Kept: `settings` is Python code at each look, and this is asked for every request."""
    return frozenset(settings.RATELIMIT_EXEMPT)


def told(request: HttpRequest, response: HttpResponseBase, outcome: Outcome) -> HttpResponseBase:
    """The response with the fields of this outcome, and of those that its view has noted."""
    fields = headers.fields(outcome)
    for more in noted(request):
        for name, value in headers.fields(more).items():
            fields[name] = headers.joined(fields.get(name, ""), value)
    for name, value in fields.items():
        response.headers[name] = value
    if fields and "HTTP_ORIGIN" in request.META:
        expose(response)
    return response


def expose(response: HttpResponseBase) -> None:
    """Let scripts of other origins read the fields, where CORS lets them read the answer at all."""
    name = "Access-Control-Expose-Headers"
    present = response.get(name, "")
    if headers.EXPOSED not in present:
        response[name] = headers.joined(present, headers.EXPOSED)


def refused(request: HttpRequest, outcome: Outcome) -> HttpResponse:
    made = answers.answer(outcome, html=answers.prefers_html(request.META.get("HTTP_ACCEPT", "*/*")))
    vary = made.headers.pop("Vary")
    response = HttpResponse(made.body, status=made.status, headers=made.headers)
    response["Content-Length"] = str(len(made.body))  # who stands further in to add it is not reached
    patch_vary_headers(response, [vary])
    if "HTTP_ORIGIN" in request.META:
        expose(response)
    # Django logs each answer above 399: a flood would fill the disk with lines. The dashboard counts them.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response
