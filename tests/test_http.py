"""Each thing that Django's ASGI handler promises, kept by the one-hop handler, before no server but the test."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterable

import pytest
from asgiref.sync import markcoroutinefunction
from django.core.signals import got_request_exception
from django.db import connection, connections

from intellicolab import http, threads
from intellicolab.http import OneHopHandler
from tests.http_site import FILE_CONTENT, events, gate, signalled, visitor


class Exchange:
    """One request as a server would bring it to the application, and what the application sends."""

    def __init__(self, application, path: str, *, method="GET", body: Iterable[bytes] = (b"",), headers=(), **scope):
        self.scope = {
            "type": "http",
            "method": method,
            "path": path.partition("?")[0],
            "query_string": path.partition("?")[2].encode(),
            "headers": [(b"host", b"localhost"), *headers],
            "client": ("127.0.0.1", 5000),
            "server": ("localhost", 80),
            **scope,
        }
        self.incoming: asyncio.Queue[dict] = asyncio.Queue()
        for part in body:
            self.incoming.put_nowait({"type": "http.request", "body": part, "more_body": True})
        self.sent: list[dict] = []
        self.may_send = asyncio.Event()
        self.may_send.set()
        self.application = application

    def end_body(self) -> "Exchange":
        self.incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        return self

    def leave(self) -> None:
        self.incoming.put_nowait({"type": "http.disconnect"})

    async def send(self, message: dict) -> None:
        await self.may_send.wait()
        self.sent.append(message)

    async def run(self) -> "Exchange":
        await asyncio.wait_for(self.application(self.scope, self.incoming.get, self.send), 20)
        return self

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [(name.decode().lower(), value.decode()) for name, value in self.sent[0]["headers"]]

    @property
    def content(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])


async def until(condition: Callable[[], bool]) -> None:
    """Fails after 20 seconds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture
async def app(settings) -> AsyncIterator[OneHopHandler]:
    settings.ROOT_URLCONF = "tests.http_site"
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
    events.clear()
    signalled.clear()
    gate.clear()
    yield OneHopHandler()
    gate.set()
    await asyncio.to_thread(threads.close)


async def get(app, path: str, **options) -> Exchange:
    return await Exchange(app, path, **options).end_body().run()


def signals_sent_once() -> bool:
    return signalled == {"started": 1, "finished": 1}


# --- Bodies ---


async def test_a_body_of_one_message_stays_in_memory(app):
    exchange = Exchange(app, "/echo", method="POST")
    exchange.incoming = asyncio.Queue()
    exchange.incoming.put_nowait({"type": "http.request", "body": b"alice"})
    assert (await exchange.run()).content == b"alice"
    assert events == ["body BytesIO"]


async def test_a_body_in_chunks_arrives_whole(app):
    parts = [b"a" * 10, b"", b"b" * 10, b"c"]
    exchange = await get(app, "/echo", method="POST", body=parts)
    assert exchange.content == b"".join(parts)


async def test_a_large_body_is_spooled_to_disk(app, settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 100_000
    exchange = await get(app, "/echo", method="POST", body=[b"x" * 60_000] * 5)
    assert len(exchange.content) == 300_000
    assert events == ["body SpooledTemporaryFile"]


async def test_a_body_over_the_limit_is_refused_as_django_does(app, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    small = await get(app, "/body-size", method="POST", body=[b"x" * 1000], headers=[(b"content-length", b"1000")])
    assert (small.status, small.content) == (200, b"1000")
    large = await get(app, "/body-size", method="POST", body=[b"x" * 1001], headers=[(b"content-length", b"1001")])
    assert large.status == 400


async def test_a_form_with_a_file_is_parsed(app):
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="name"\r\n\r\nalice\r\n'
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n12345\r\n--edge--\r\n'
    )
    headers = [(b"content-type", b"multipart/form-data; boundary=edge"), (b"content-length", b"%d" % len(body))]
    exchange = await get(app, "/form", method="POST", body=[body], headers=headers)
    assert exchange.content == b'{"name": "alice", "sizes": [5]}'


async def test_a_query_string_that_is_not_text_is_a_bad_request(app):
    exchange = await get(app, "/hello", query_string=b"\xff\xfe")
    assert exchange.status == 400
    assert signals_sent_once()


# --- Answers ---


async def test_an_answer_is_sent_and_the_signals_once_each(app):
    exchange = await get(app, "/hello")
    assert (exchange.status, exchange.content) == (200, b"hello")
    assert ("content-length", "5") in exchange.headers
    assert signals_sent_once()


async def test_cookies_and_repeated_headers_keep_their_lines(app):
    headers = [(b"x-twice", b"one"), (b"x-twice", b"two"), (b"cookie", b"seen=yes")]
    exchange = await get(app, "/cookies", headers=headers)
    assert exchange.content == b"yes one,two"
    set_cookies = [value for name, value in exchange.headers if name == "set-cookie"]
    assert [value.partition("=")[0] for value in set_cookies] == ["first", "second"]
    assert "HttpOnly" in set_cookies[0]


async def test_an_exception_is_a_500_through_our_page_logged_and_signalled_once(app, caplog):
    told = []

    def listener(sender, request, **kwargs):
        told.append(request.path)

    got_request_exception.connect(listener)
    with caplog.at_level(logging.ERROR, "django.request"):
        exchange = await get(app, "/boom")
    got_request_exception.disconnect(listener)
    assert (exchange.status, exchange.content) == (500, b"our own page for errors")
    assert [record.getMessage() for record in caplog.records] == ["Internal Server Error: /boom"]
    assert told == ["/boom"]
    assert signals_sent_once()


async def test_an_unknown_path_is_a_404(app):
    assert (await get(app, "/nowhere")).status == 404
    assert signals_sent_once()


async def test_the_script_prefix_is_taken_off_the_path_and_put_on_links(app):
    exchange = await get(app, "/chat/where", root_path="/chat", marked="yes", scheme="https")
    assert exchange.content == (
        b'{"path_info": "/where", "link": "/chat/where", "scheme": "https", "client": "127.0.0.1", "marked": "yes"}'
    )
    assert b'"link": "/where"' in (await get(app, "/where")).content


async def test_only_http_is_served(app):
    with pytest.raises(ValueError, match="websocket"):
        await get(app, "/hello", type="websocket")


# --- Streams ---


@pytest.mark.parametrize("path", ["/stream", "/async-stream"])
async def test_a_stream_arrives_whole_and_is_closed(app, path):
    exchange = await get(app, path)
    assert exchange.content == b"".join(b"%06d\n" % number * 1000 for number in range(3))
    await until(lambda: "closed" in events)
    assert signals_sent_once()


@pytest.mark.parametrize("path", ["/stream?endless", "/async-stream?endless"])
async def test_a_stream_is_read_only_as_fast_as_it_is_sent(app, path):
    exchange = Exchange(app, path).end_body()
    task = asyncio.create_task(exchange.run())
    await until(lambda: len(exchange.sent) > 3)
    exchange.may_send.clear()
    await asyncio.sleep(0.05)
    before = len(events)
    await asyncio.sleep(0.1)
    assert len(events) == before
    assert before <= len(exchange.sent) + 2
    exchange.may_send.set()
    await until(lambda: len(events) > before)
    exchange.leave()
    await task


@pytest.mark.parametrize("path", ["/stream?endless", "/async-stream?endless"])
async def test_a_client_that_leaves_ends_the_stream(app, path):
    exchange = Exchange(app, path).end_body()
    task = asyncio.create_task(exchange.run())
    await until(lambda: len(exchange.sent) > 3)
    assert signalled == {"started": 1}
    exchange.leave()
    await task
    await until(lambda: events[-1] == "closed")
    assert signals_sent_once()
    assert app.streams == 0


async def test_a_sync_stream_runs_in_one_thread_that_is_not_the_pool_s(app):
    await get(app, "/stream")
    names = {event.partition(" in ")[2] for event in events if event.startswith("part")}
    assert len(names) == 1
    assert not names.pop().startswith("django")


@pytest.mark.database
async def test_a_stream_may_read_rows_as_it_goes(app, transactional_db):
    assert (await get(app, "/stream-rows")).content == b"1\n2\n3\n"


async def test_a_stream_that_breaks_off_is_closed_and_tells_the_server(app):
    exchange = Exchange(app, "/stream-fails").end_body()
    with pytest.raises(ValueError, match="broke off"):
        await exchange.run()
    assert exchange.content == b"good"
    assert signals_sent_once()
    assert app.streams == 0


async def test_a_file_is_sent_in_blocks_and_closed(app):
    exchange = await get(app, "/download")
    assert exchange.content == FILE_CONTENT
    assert ("content-length", str(len(FILE_CONTENT))) in exchange.headers
    assert len(exchange.sent[1]["body"]) == OneHopHandler.chunk_size
    assert events == ["file closed"]
    assert signals_sent_once()


@pytest.mark.parametrize("path", ["/stream?endless", "/async-stream?endless", "/download"])
async def test_a_head_request_does_not_read_the_stream(app, path):
    exchange = await get(app, path, method="HEAD")
    assert exchange.status == 200
    assert exchange.content == b""
    assert [event for event in events if event.startswith("part")] == []
    assert signals_sent_once()


async def test_more_streams_than_threads_for_them_are_refused(app, monkeypatch):
    monkeypatch.setattr(http, "MAX_STREAMS", 1)
    first = Exchange(app, "/stream?endless").end_body()
    task = asyncio.create_task(first.run())
    await until(lambda: len(first.sent) > 1)
    assert (await get(app, "/download")).status == 503
    assert "file closed" in events
    first.leave()
    await task
    assert (await get(app, "/download")).status == 200


# --- Clients that leave ---


async def test_a_client_that_leaves_before_its_body_ends_reaches_no_view(app):
    exchange = Exchange(app, "/echo", method="POST", body=[b"half"])
    exchange.leave()
    await exchange.run()
    assert exchange.sent == []
    assert events == []
    assert signalled == {}


async def test_a_client_that_leaves_during_a_view_lets_it_end_and_close(app):
    exchange = Exchange(app, "/slow").end_body()
    task = asyncio.create_task(exchange.run())
    await until(lambda: events == ["slow began"])
    exchange.leave()
    gate.set()
    await task
    assert events == ["slow began", "slow ended"]
    assert signals_sent_once()


@pytest.mark.parametrize("path", ["/slow", "/slow-stream"])
async def test_a_server_that_gives_up_on_a_view_still_has_its_answer_closed(app, path):
    exchange = Exchange(app, path).end_body()
    task = asyncio.create_task(exchange.run())
    await until(lambda: events == ["slow began"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert signalled == {"started": 1}
    gate.set()
    await until(signals_sent_once)
    assert exchange.sent == []
    assert app.requests == 0


async def test_a_request_given_up_while_it_waits_for_a_thread_never_runs(app):
    holders = [asyncio.create_task(get(app, "/slow")) for _ in range(threads.THREADS)]
    await until(lambda: len(events) == threads.THREADS)
    waiting = asyncio.create_task(get(app, "/echo"))
    await until(lambda: app.requests == threads.THREADS + 1)
    waiting.cancel()
    await asyncio.wait([waiting])
    gate.set()
    await asyncio.gather(*holders)
    await get(app, "/hello")
    assert not any(event.startswith("body") for event in events)


# --- Overload ---


async def test_requests_over_the_bound_are_told_to_come_again(app, monkeypatch):
    monkeypatch.setattr(http, "MAX_REQUESTS", threads.THREADS + 2)
    waiting = [asyncio.create_task(get(app, "/slow")) for _ in range(threads.THREADS + 2)]
    await until(lambda: app.requests == threads.THREADS + 2)
    refused = await get(app, "/hello")
    assert refused.status == 503
    assert ("retry-after", "2") in refused.headers
    gate.set()
    assert [exchange.status for exchange in await asyncio.gather(*waiting)] == [200] * (threads.THREADS + 2)
    assert (await get(app, "/hello")).status == 200


# --- Threads, context, connections ---


@pytest.mark.database
async def test_connections_are_reused_between_requests(app, transactional_db):
    assert connection.settings_dict["CONN_MAX_AGE"] > 0
    for _ in range(20):
        await get(app, "/query")
    by_thread = dict(event.split() for event in events)
    assert len(set(events)) == len(by_thread) <= threads.THREADS


@pytest.mark.database
async def test_an_unusable_connection_is_replaced(app, transactional_db, monkeypatch):
    monkeypatch.setattr(threads, "THREADS", 1)
    await get(app, "/query")
    await get(app, "/query")
    assert events[0] == events[1]

    def break_it():
        wrapper = connections["default"]
        wrapper.errors_occurred = True
        wrapper.is_usable = lambda: False
        return wrapper.connection

    broken = await asyncio.wrap_future(threads.submit(break_it))
    await get(app, "/query")
    assert events[2].split()[1] != str(id(broken))


@pytest.mark.database
async def test_an_old_connection_is_closed_at_its_age(app, transactional_db, monkeypatch):
    monkeypatch.setattr(threads, "THREADS", 1)
    await get(app, "/query")

    def grow_old():
        connection.close_at = 0
        return connection.connection

    old = await asyncio.wrap_future(threads.submit(grow_old))
    await get(app, "/query")
    assert events[1].split()[1] != str(id(old))


async def test_what_a_view_sets_in_the_context_ends_with_its_request(app):
    visitor.set("alice")
    assert [(await get(app, "/context")).content for _ in range(8)] == [b"alice"] * 8


async def test_async_to_sync_in_a_view_uses_the_server_s_loop_and_comes_back_to_the_thread(app):
    exchange = await get(app, "/bridge", loop_thread=threading.get_ident())
    assert exchange.content == b'{"loop, thread": [true, true]}'


# --- Async views and middleware ---


async def test_async_views_run_with_one_lasting_thread_for_their_sync_calls(app):
    names = {(await get(app, "/async")).content for _ in range(3)}
    assert names == {b"django-async_0"}
    assert signalled == {"started": 3, "finished": 3}


async def test_an_async_view_is_cancelled_when_its_client_leaves(app):
    exchange = Exchange(app, "/async-slow").end_body()
    task = asyncio.create_task(exchange.run())
    await until(lambda: events == ["slow began"])
    exchange.leave()
    await task
    assert events == ["slow began", "cancelled"]
    assert signals_sent_once()


async def test_async_views_hold_no_thread_of_the_pool(app):
    waiting = [Exchange(app, "/async-slow").end_body() for _ in range(threads.THREADS + 1)]
    tasks = [asyncio.create_task(exchange.run()) for exchange in waiting]
    await until(lambda: len(events) == threads.THREADS + 1)
    assert (await get(app, "/hello")).status == 200
    for exchange in waiting:
        exchange.leave()
    await asyncio.gather(*tasks)


class AsyncOnly:
    """Middleware that knows only the async form."""

    sync_capable = False
    async_capable = True

    def __init__(self, get_response):
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request):
        response = await self.get_response(request)
        response["X-Async"] = "yes"
        return response


async def test_middleware_that_is_only_async_works(app, settings):
    settings.MIDDLEWARE = ["tests.test_http.AsyncOnly"]
    exchange = await get(OneHopHandler(), "/hello")
    assert ("x-async", "yes") in exchange.headers


async def test_run_gives_the_result_or_the_error_of_a_thread(transactional_db):
    assert await threads.run(sum, [1, 2], start=3) == 6
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 / 0)
    await asyncio.to_thread(threads.close)
