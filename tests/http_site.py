"""A site with one view for each promise of the HTTP handler, for tests in process and on the real servers.

What happens in the background is written to `events`; `/events` shows it, so that a test can ask another process.
"""

import asyncio
import itertools
import os
import threading
from collections import Counter
from contextvars import ContextVar
from io import BytesIO

import django
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.core import signals
from django.core.handlers.asgi import ASGIRequest
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path, reverse

if not settings.configured and "DJANGO_SETTINGS_MODULE" not in os.environ:  # a server imported this module to serve it
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="only for tests",
    )
    django.setup()

from django.db import connection

from intellicolab.http import OneHopHandler

FILE_SIZE = 300_000
FILE_CONTENT = bytes(range(250)) * (FILE_SIZE // 250)

events: list[str] = []
gate = threading.Event()
signalled: Counter[str] = Counter()
visitor: ContextVar[str] = ContextVar("visitor", default="nobody")


def count_started(sender, **kwargs):
    signalled["started"] += 1


def count_finished(sender, **kwargs):
    signalled["finished"] += 1


signals.request_started.connect(count_started)
signals.request_finished.connect(count_finished)


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello")


def echo(request: HttpRequest) -> HttpResponse:
    events.append(f"body {type(request._stream).__name__}")
    return HttpResponse(request.read(), content_type="application/octet-stream")


def body_size(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.body)))


def form(request: HttpRequest) -> HttpResponse:
    sizes = [len(file.read()) for file in request.FILES.getlist("file")]
    return JsonResponse({"name": request.POST["name"], "sizes": sizes})


def cookies(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(request.COOKIES.get("seen", "") + " " + request.headers.get("X-Twice", ""))
    response.set_cookie("first", "1", httponly=True)
    response.set_cookie("second", "2")
    return response


def boom(request: HttpRequest) -> HttpResponse:
    raise ValueError("boom")


def query(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    events.append(f"{threading.current_thread().name} {id(connection.connection)}")
    return HttpResponse("1")


def where(request: ASGIRequest) -> HttpResponse:
    return JsonResponse(
        {
            "path_info": request.path_info,
            "link": reverse("where"),
            "scheme": request.scheme,
            "client": request.META.get("REMOTE_ADDR"),
            "marked": request.scope.get("marked"),
        }
    )


def context(request: HttpRequest) -> HttpResponse:
    before = visitor.get()
    visitor.set("somebody")
    return HttpResponse(before)


def bridge(request: ASGIRequest) -> HttpResponse:
    """From the thread to the loop and back: where does each part run?"""
    mine = threading.get_ident()

    async def on_loop() -> list[bool]:
        back = await sync_to_async(threading.get_ident)()
        return [threading.get_ident() == request.scope.get("loop_thread"), back == mine]

    return JsonResponse({"loop, thread": async_to_sync(on_loop)()})


def slow(request: HttpRequest) -> HttpResponse:
    events.append("slow began")
    gate.wait(20)
    events.append("slow ended")
    return HttpResponse("slow")


def slow_stream(request: HttpRequest) -> StreamingHttpResponse:
    events.append("slow began")
    gate.wait(20)
    return StreamingHttpResponse(endless())


def endless():
    try:
        for number in itertools.count():
            events.append(f"part {number} in {threading.current_thread().name}")
            yield b"%06d\n" % number * 1000
    finally:
        events.append("closed")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    parts = endless() if "endless" in request.GET else itertools.islice(endless(), 3)
    return StreamingHttpResponse(parts)


def stream_rows(request: HttpRequest) -> StreamingHttpResponse:
    """Rows as they are read: the cursor belongs to the thread that opened it."""

    def rows():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")
            for (row,) in cursor:
                yield f"{row}\n"

    return StreamingHttpResponse(rows())


def stream_fails(request: HttpRequest) -> StreamingHttpResponse:
    def parts():
        yield b"good"
        raise ValueError("broke off")

    return StreamingHttpResponse(parts())


async def aendless():
    try:
        for number in itertools.count():
            events.append(f"part {number}")
            yield b"%06d\n" % number * 1000
            await asyncio.sleep(0)
    finally:
        events.append("closed")


async def athree():
    async for part in aendless():
        yield part
        if part.startswith(b"000002"):
            return


def async_stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(aendless() if "endless" in request.GET else athree())


class Numbers(BytesIO):
    def close(self) -> None:
        super().close()
        events.append("file closed")


def download(request: HttpRequest) -> FileResponse:
    return FileResponse(Numbers(FILE_CONTENT), filename="numbers.bin")


async def async_view(request: HttpRequest) -> HttpResponse:
    thread = await sync_to_async(threading.current_thread)()
    return HttpResponse(thread.name)


async def async_slow(request: HttpRequest) -> HttpResponse:
    events.append("slow began")
    try:
        await asyncio.sleep(20)
    except asyncio.CancelledError:
        events.append("cancelled")
        raise
    return HttpResponse("slow")


def show_events(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"events": events, **signalled})


urlpatterns = [
    path("hello", hello),
    path("echo", echo),
    path("body-size", body_size),
    path("form", form),
    path("cookies", cookies),
    path("boom", boom),
    path("query", query),
    path("where", where, name="where"),
    path("context", context),
    path("bridge", bridge),
    path("slow", slow),
    path("slow-stream", slow_stream),
    path("stream", stream),
    path("stream-rows", stream_rows),
    path("stream-fails", stream_fails),
    path("async-stream", async_stream),
    path("download", download),
    path("async", async_view),
    path("async-slow", async_slow),
    path("events", show_events),
]


def handler500(request: HttpRequest) -> HttpResponse:
    return HttpResponse("our own page for errors", status=500)


async def application(scope, receive, send) -> None:
    """What a server runs; the handler is made at the first request."""
    global handler
    if scope["type"] == "http":
        handler = handler or OneHopHandler()
        await handler(scope, receive, send)


handler: OneHopHandler | None = None
