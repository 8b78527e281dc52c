"""The security fields of every answer, for those that are sent before Django is entered."""

from collections.abc import Mapping
from functools import cache
from typing import cast

from csp.middleware import CSPMiddleware
from django.http import HttpRequest, HttpResponse
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware

# Of an answer without a body of its own these say nothing.
_NOT_OURS = {"content-type", "content-length"}


class _Secure(HttpRequest):
    """So that HSTS is among them; over plain http browsers ignore it (RFC 6797, section 8.1)."""

    def _get_scheme(self) -> str:
        return "https"


@cache
def security_headers() -> Mapping[str, str]:
    """What Django's own middlewares add to a page that is asked for over the site's scheme."""
    chain = SecurityMiddleware(CSPMiddleware(XFrameOptionsMiddleware(lambda request: HttpResponse())))
    response = cast(HttpResponse, chain(_Secure()))
    return {name: value for name, value in response.items() if name.lower() not in _NOT_OURS}
