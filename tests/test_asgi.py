"""The whole application as a server calls it."""

import asyncio

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator

from intellicolab import threads
from intellicolab.asgi import application
from tests.test_http import Exchange


@pytest.fixture
async def exchange():
    """Call with a path: what the application answered."""

    async def ask(path: str, **options) -> Exchange:
        return await Exchange(application, path, **options).end_body().run()

    yield ask
    await asyncio.to_thread(threads.close)


async def test_pages_pass_the_middleware_and_static_files_do_not(exchange):
    page = dict((await exchange("/healthz")).headers)
    assert "content-security-policy" in page
    static = await exchange("/static/no-such-file.css")
    assert static.status == 404
    assert "content-security-policy" not in dict(static.headers)


@pytest.mark.django_db(transaction=True)
async def test_a_stranger_s_claims_about_its_address_and_scheme_change_nothing(exchange, make_policy):
    await sync_to_async(make_policy)(limit="2/min")
    for number in range(3):
        headers = [(b"x-forwarded-for", b"198.51.100.%d" % number)]
        answer = await exchange("/nowhere", headers=headers, client=("203.0.113.9", 4000), root_path=f"/{number}")
    assert answer.status == 429


async def test_a_socket_on_an_unknown_path_is_refused_without_an_error():
    communicator = WebsocketCommunicator(application, "/nowhere/")
    assert await communicator.connect() == (False, 1000)


async def test_the_server_s_start_and_end_are_answered():
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive():
        return incoming.pop(0)

    async def send(message):
        sent.append(message["type"])

    await application({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
