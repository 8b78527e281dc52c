"""Django over ASGI in one hop: a whole request (signals, middleware, view, rendering, close) runs in one pool thread.

Django's own handler hops between its loop and a thread for every sync middleware, signal receiver and view, and gives
each request a new thread, so that database connections don't last. `docs/http.md` says what is kept and what differs.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import cached_property, partial
from typing import IO, Any, cast

from asgiref.sync import ThreadSensitiveContext, iscoroutinefunction, sync_to_async
from django.conf import settings
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.db import connections
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, set_script_prefix

from . import threads

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Requests that wait for a thread or are in one. At 50 ms a request the last of them waits three seconds; who comes
# after is told at once to come again, so that an overload costs the memory of this many requests and no more.
MAX_REQUESTS = 256
# Open answers that are read part by part: each keeps a thread, mostly idle, for as long as its client takes.
MAX_STREAMS = 64


class OneHopHandler(ASGIHandler):
    """Sync views in one hop; async views as Django runs them, their sync parts in one lasting thread."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0
        self.streams = 0

    def load_middleware(self, is_async: bool = False) -> None:
        """Load the chain sync, whatever is asked: it runs inside the hop."""
        super().load_middleware(is_async=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"Django answers HTTP, not {scope['type']}: route that elsewhere.")
        if self.has_async_views and is_async(scope):
            async with ThreadSensitiveContext(executor=threads.sensitive()):
                await self.django(scope, receive, send)
        else:
            await self.handle(scope, receive, send)

    @cached_property
    def has_async_views(self) -> bool:
        """Where there are none, no request need be resolved before the hop."""
        return any(iscoroutinefunction(view) for view in views(get_resolver(settings.ROOT_URLCONF).url_patterns))

    @cached_property
    def django(self) -> ASGIHandler:
        return ASGIHandler()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the request, have a thread answer it, send the answer."""
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        response = await self.hop(scope, body)
        if isinstance(response, StreamingHttpResponse):
            await self.stream(response, receive, send)
        else:
            await self.send_response(response, send)

    async def read_body(self, receive: Receive) -> IO[bytes]:
        """The body as a file: in memory when it came in one message, as nearly all do; else spooled as Django does."""
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            return io.BytesIO(message.get("body", b""))
        return await super().read_body(preceded(message, receive))

    async def hop(self, scope: Scope, body: IO[bytes]) -> HttpResponseBase:
        """The thread's answer. Nobody waits for it after a cancellation, so what it holds is then closed there."""
        if self.requests >= MAX_REQUESTS:
            body.close()
            return overloaded()
        self.requests += 1
        job = threads.submit(self.respond, scope, body)
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            job.add_done_callback(partial(abandon, body))
            raise
        finally:
            self.requests -= 1

    def respond(self, scope: Scope, body: IO[bytes]) -> HttpResponseBase:
        """Everything that Django does for a request, in the thread that calls. A stream is left open, to be sent."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, refusal = self.create_request(scope, body)
        if request:
            response = self.get_response(request)
        else:
            response = cast(HttpResponseBase, refusal)
            body.close()
        response._handler_class = self.__class__  # type: ignore[attr-defined]
        if isinstance(response, StreamingHttpResponse):
            self.prepare_stream(response, scope["method"])
        else:
            response.close()
        return response

    def prepare_stream(self, response: StreamingHttpResponse, method: str) -> None:
        """Make it an async iterator that never reads ahead."""
        if isinstance(response, FileResponse):
            response.block_size = self.chunk_size
        if method == "HEAD":
            response.streaming_content = ()
        if not response.is_async:
            response.streaming_content = pulled(iter(response))

    async def stream(self, response: StreamingHttpResponse, receive: Receive, send: Send) -> None:
        """Send part by part until the end or until the client leaves.

        A sync iterator runs and is closed in one thread of its own: it may hold a cursor, which is its thread's.
        """
        if self.streams >= MAX_STREAMS:
            await threads.run(response.close)
            return await self.send_response(overloaded(), send)
        self.streams += 1
        try:
            async with ThreadSensitiveContext():
                await self.send_until_disconnect(response, receive, send)
        except RequestAborted:
            return None
        finally:
            self.streams -= 1

    async def send_until_disconnect(self, response: StreamingHttpResponse, receive: Receive, send: Send) -> None:
        try:
            await first_of(self.send_response(response, send), self.listen_for_disconnect(receive))
        finally:
            await sync_to_async(close_stream)(response)


def is_async(scope: Scope) -> bool:
    """Whether the request goes to an async view. One that middleware sends elsewhere may hold a thread, no more."""
    path = scope["path"].removeprefix(get_script_prefix(scope))
    try:
        return iscoroutinefunction(get_resolver(settings.ROOT_URLCONF).resolve(path).func)
    except Resolver404:
        return False


def views(patterns: Iterable[URLPattern | URLResolver]) -> Iterator[Callable[..., Any]]:
    """Every view below the patterns."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from views(pattern.url_patterns)
        else:
            yield pattern.callback


def preceded(message: Message, receive: Receive) -> Receive:
    """`receive` with a message put back in front."""
    first = [message]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay


def overloaded() -> HttpResponse:
    """The answer while more requests wait than can be served soon; it never entered Django."""
    headers = {"Retry-After": "2", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    text = "The server has more to do than it can right now. Please try again in a moment.\n"
    return HttpResponse(text, status=503, content_type="text/plain; charset=utf-8", headers=headers)


def abandon(body: IO[bytes], job: "Future[HttpResponseBase]") -> None:
    """Close what an answer that nobody waits for still holds; runs in the thread that made it."""
    body.close()
    if not job.cancelled() and not job.exception() and not job.result().closed:
        job.result().close()


async def pulled(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """A sync iterator's parts, each asked for only when the one before has been sent."""
    pull = sync_to_async(partial(next, parts, None))
    while (part := await pull()) is not None:
        yield part


def close_stream(response: HttpResponseBase) -> None:
    """Also closes the database connections, since the stream's thread ends with it."""
    try:
        response.close()
    finally:
        connections.close_all()


async def first_of(*coroutines: Awaitable[None]) -> None:
    """Run all until one ends, and cancel the rest; raises what one raised, the first of them first."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()
