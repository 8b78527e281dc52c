"""Static files answered at the ASGI layer, before Django is entered: no middleware, no session, no request counted.

WhiteNoise knows the files, their headers and compressed variants; here they are found by path and sent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import staticfiles_storage
from whitenoise.base import WhiteNoise
from whitenoise.responders import Response, StaticFile

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

# Bytes read from a file, and sent, at a time.
CHUNK = 2**16

# The request headers that decide about a file, as WhiteNoise names them.
ASKED = {
    b"accept-encoding": "HTTP_ACCEPT_ENCODING",
    b"if-modified-since": "HTTP_IF_MODIFIED_SINCE",
    b"if-none-match": "HTTP_IF_NONE_MATCH",
    b"if-range": "HTTP_IF_RANGE",
    b"range": "HTTP_RANGE",
}


class StaticFiles:
    """Answers all that lies under STATIC_URL, and passes everything else on."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.prefix = urlsplit(settings.STATIC_URL).path

    @cached_property
    def files(self) -> "Files":
        """Found at the first request: by then `serve` has collected them."""
        return Files(self.prefix)

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        if scope["path"].startswith(self.prefix):
            await self.answer(scope, send)
        else:
            await self.application(scope, receive, send)

    async def answer(self, scope: Scope, send: Send) -> None:
        """Send the file, or a 404; opened and read in a thread, since a disk may be slow."""
        response = await asyncio.to_thread(self.response, scope)
        await send(start(response))
        if response.file is None:
            return await send({"type": "http.response.body"})
        with response.file as file:
            while part := await asyncio.to_thread(file.read, CHUNK):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        return await send({"type": "http.response.body"})

    def response(self, scope: Scope) -> Response:
        """WhiteNoise's answer, in which `file` is open if there is a body to send."""
        file = self.files.at(scope["path"])
        if file is None:
            return Response(HTTPStatus.NOT_FOUND, [("Content-Length", "0")], None)
        asked = {ASKED[name]: value.decode("latin1") for name, value in scope["headers"] if name in ASKED}
        if asked.get("HTTP_IF_RANGE", file.etag) != file.etag:
            asked.pop("HTTP_RANGE", None)  # the part asked for is of an older file (RFC 9110, 13.1.5)
        return file.get_response(scope["method"], asked)


class Files(WhiteNoise):
    """STATIC_ROOT's files by URL path; in DEBUG, each app's own, looked up anew for every request."""

    def __init__(self, prefix: str) -> None:
        super().__init__(None, autorefresh=settings.DEBUG, max_age=0 if settings.DEBUG else 60, allow_all_origins=False)
        self.prefix = prefix
        self.hashed = frozenset(getattr(staticfiles_storage, "hashed_files", {}).values())
        if Path(settings.STATIC_ROOT).is_dir():
            self.add_files(settings.STATIC_ROOT, prefix)

    def at(self, path: str) -> StaticFile | None:
        return self.find_file(path) if self.autorefresh else self.files.get(path)

    def candidate_paths_for_url(self, url: str) -> Iterator[str]:
        """In DEBUG: where the finders see the file, before where it was collected."""
        if found := finders.find(url.removeprefix(self.prefix)):
            yield found
        yield from super().candidate_paths_for_url(url)

    def immutable_file_test(self, path: str, url: str) -> bool:
        """A name that the manifest made from the content may be cached for ever."""
        return url.removeprefix(self.prefix) in self.hashed


def start(response: Response) -> dict[str, Any]:
    headers = [(name.encode("latin1"), value.encode("latin1")) for name, value in response.headers]
    headers.append((b"X-Content-Type-Options", b"nosniff"))
    return {"type": "http.response.start", "status": int(response.status), "headers": headers}
