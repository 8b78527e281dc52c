"""A trivial view: bare, and behind the decorators of those that limit by decorator."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django_ratelimit.decorators import ratelimit
from django_smart_ratelimit.decorator import rate_limit

from intellicolab.redis.client import Purpose, Role, client

from .limits import SMART, configure_smart

configure_smart()  # before its decorator, which keeps what it finds

MOST = "100000000/m"


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"Hello, world\n")


def ping_middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """A round trip in the place of a decision: a view that runs after a wait is slower than one after another view."""

    def pinged(request: HttpRequest) -> HttpResponse:
        client(Role.STATE, Purpose.FAST).ping()
        return get_response(request)

    return pinged


urlpatterns = [
    path("plain", hello),
    path("django-ratelimit", ratelimit(group="view", key="ip", rate=MOST, block=True)(hello)),
    path("django-smart-ratelimit", rate_limit(key="ip", rate=MOST, block=True, backend=SMART)(hello)),
]
