"""A trivial sync view behind the seven middlewares of Django's project template, under each handler compared."""

from typing import Any

import django
from a2wsgi import WSGIMiddleware
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "CONN_MAX_AGE": 600}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="a benchmark keeps no secrets",
)
django.setup()

from intellicolab.http import OneHopHandler  # noqa: E402  needs the settings

BODY = b"Hello, world\n"


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse(BODY)


async def bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The same answer without Django: what the server itself costs."""
    await receive()
    headers = [(b"Content-Type", b"text/plain"), (b"Content-Length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


urlpatterns = [path("", hello)]

one_hop = OneHopHandler()
django_asgi = ASGIHandler()
wsgi = WSGIHandler()
bridged = WSGIMiddleware(wsgi)
