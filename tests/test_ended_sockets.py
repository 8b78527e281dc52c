"""Sockets of a session that ended: closed at once by the news of it, by the hub's look where the news was lost, and
never while nobody knows."""

import asyncio
import time

import pytest
from channels.routing import URLRouter
from django.conf import settings
from django.test import Client

from accounts import devices, sessions
from accounts.sessions import SessionStore
from intellicolab import threads
from intellicolab.redis import keys
from intellicolab.redis.client import Role
from intellicolab.redis.client import client as redis_client
from realtime import consumer, errors, queries, services, session_looks
from realtime.committer import committer
from realtime.hub import Hub
from realtime.models import Message
from realtime.publisher import publisher
from realtime.routing import websocket_urlpatterns
from realtime.session_looks import LOOK_SECONDS, SessionLooks

from .conftest import PASSWORD
from .sockets import HOST, WAIT, Socket

pytestmark = pytest.mark.django_db(transaction=True)

COOKIE = settings.SESSION_COOKIE_NAME
NEW_PASSWORD = "a wholly different phrase"
AT_ONCE = 1.0  # seconds, and well below LOOK_SECONDS: so it was the news, not the look


@pytest.fixture(autouse=True)
async def a_running_server(settings, unhurried_publisher):
    """As a server's process has them: the loop's hub, the committer and the publisher; ended with the test."""
    settings.ALLOWED_HOSTS = [HOST]
    yield
    await Hub.here().close()
    committer.drain()
    committer.reopen()
    publisher.stop()


@pytest.fixture
def room(make_user):
    return services.create_room(make_user("alice"), "General")


class Browser:
    """Alice's: pages and sockets with one cookie."""

    def __init__(self):
        self.client = Client()

    async def sign_in(self):
        form = {"login": "alice@example.org", "password": PASSWORD}
        assert (await self.post("/accounts/login/", form)).status_code == 302
        return self

    async def post(self, address, form=None):
        return await threads.run(self.client.post, address, form or {})

    @property
    def key(self):
        return self.client.cookies[COOKIE].value

    @property
    def session(self):
        return sessions.hash_of(self.key)

    def socket(self):
        headers = [(b"host", HOST.encode()), (b"origin", f"http://{HOST}".encode())]
        headers += [(b"cookie", f"{COOKIE}={self.key}".encode()), (b"user-agent", b"Firefox/1 (Linux)")]
        return Socket(URLRouter(websocket_urlpatterns), "/ws/", headers=headers)

    async def open(self):
        socket = self.socket()
        await socket.hello()
        return socket


async def is_open(socket):
    await socket.send_json_to({"type": "ping"})
    return (await socket.frame("pong"))["type"] == "pong"


async def closed_at_once(socket):
    async with asyncio.timeout(AT_ONCE):
        return await socket.closed_with()


async def test_signing_out_closes_every_socket_of_the_session_and_no_other(room):
    here, other = await Browser().sign_in(), await Browser().sign_in()
    tabs, elsewhere = [await here.open(), await here.open()], await other.open()
    await here.post("/accounts/logout/")
    for tab in tabs:
        assert await closed_at_once(tab) == errors.SIGNED_OUT
    assert await is_open(elsewhere)
    await elsewhere.disconnect()


@pytest.mark.topology
async def test_signing_others_out_closes_their_sockets_at_once(room):
    here, phone, tablet = [await Browser().sign_in() for _ in range(3)]
    mine, first, second = [await browser.open() for browser in (here, phone, tablet)]
    await here.post("/profile/devices/sign-out/", {"device": phone.session})
    assert await closed_at_once(first) == errors.SIGNED_OUT
    assert await is_open(second)
    await here.post("/profile/devices/sign-out-others/")
    assert await closed_at_once(second) == errors.SIGNED_OUT
    assert await is_open(mine)
    await mine.disconnect()


async def test_a_new_password_closes_all_sockets_and_only_here_they_may_come_back(room):
    here, other = await Browser().sign_in(), await Browser().sign_in()
    mine, theirs = await here.open(), await other.open()
    form = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    await here.post("/accounts/password/change/", form)
    assert await closed_at_once(theirs) == errors.SIGNED_OUT
    assert await closed_at_once(mine) == errors.RENEWED
    again = await here.open()
    assert await is_open(again)
    await again.disconnect()


@pytest.mark.topology
async def test_a_session_that_ran_out_or_whose_end_was_not_told_is_found_by_the_look(room):
    here, other = await Browser().sign_in(), await Browser().sign_in()
    mine, theirs = await here.open(), await other.open()
    redis_client(Role.STATE).delete(sessions.name_of(here.session))
    async with asyncio.timeout(LOOK_SECONDS + 2):
        assert await mine.closed_with() == errors.SIGNED_OUT
    assert await is_open(theirs)
    await theirs.disconnect()


@pytest.mark.parametrize("outage", ["kill", "pause"])
async def test_nobody_is_signed_out_while_redis_is_away(room, redis_server, monkeypatch, outage):
    looks = []

    async def counted(self):
        looks.append(time.monotonic())
        await look(self)

    look = SessionLooks.look
    monkeypatch.setattr(session_looks, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(SessionLooks, "look", counted)
    socket = await (await Browser().sign_in()).open()
    await asyncio.to_thread(getattr(redis_server, outage))
    try:
        before = len(looks)
        async with asyncio.timeout(10):
            while len(looks) < before + 4:
                await asyncio.sleep(0.05)
        assert await is_open(socket)
    finally:
        if outage == "pause":
            redis_server.resume()
    await socket.disconnect()


async def test_a_socket_opened_in_the_moment_of_the_sign_out_does_not_survive_it(room, monkeypatch):
    here = await Browser().sign_in()
    enter = Hub.enter

    async def enter_late(self, *args):
        """The cookie was good when it was looked at; the session ends, untold, before the hub knows the socket."""
        await threads.run(SessionStore().delete, here.key)
        await enter(self, *args)

    monkeypatch.setattr(Hub, "enter", enter_late)
    socket = here.socket()
    assert (await socket.connect(timeout=WAIT))[0]
    assert await socket.receive_output(WAIT) == {"type": "websocket.close", "code": errors.SIGNED_OUT}


async def test_a_sign_out_told_before_the_greeting_leaves_none(room, monkeypatch):
    here, standing_of = await Browser().sign_in(), queries.standing_of

    def sign_out_before_the_answer(*arguments):
        here.client.post("/accounts/logout/")
        return standing_of(*arguments)

    monkeypatch.setattr(queries, "standing_of", sign_out_before_the_answer)
    socket = here.socket()
    assert (await socket.connect(timeout=WAIT))[0]
    assert await socket.receive_output(WAIT) == {"type": "websocket.close", "code": errors.SIGNED_OUT}


async def test_what_comes_over_a_closed_socket_does_nothing(room):
    here = await Browser().sign_in()
    socket = await here.open()
    await here.post("/accounts/logout/")
    assert await closed_at_once(socket) == errors.SIGNED_OUT
    await socket.say(room, "I am still here")
    assert await socket.hears_nothing(0.2)
    assert await threads.run(Message.objects.count) == 0


async def test_who_opens_a_socket_writes_and_reads_uses_the_device(room, monkeypatch):
    here = await Browser().sign_in()
    [alice_id] = await threads.run(lambda: [room.memberships.get().user_id])
    name, redis = keys.device(alice_id, here.session), redis_client(Role.STATE)

    async def noted():
        async with asyncio.timeout(5):
            while redis.hget(name, "browser") != b"Firefox on Linux":
                await asyncio.sleep(0.01)

    devices._noted.clear()
    redis.delete(name)
    socket = await here.open()
    await noted()
    monkeypatch.setattr(consumer, "NOTE_SECONDS", 0)
    devices._noted.clear()
    redis.delete(name)
    await socket.say(room, "hello")
    number = (await socket.frame("message.ack"))["number"]
    await noted()
    devices._noted.clear()
    redis.delete(name)
    await socket.send_json_to({"type": "room.read", "room": room.pk, "number": number})
    await noted()
    await socket.disconnect()


@pytest.mark.topology
def test_sessions_are_looked_at_in_bounded_pipelines(monkeypatch):
    monkeypatch.setattr(sessions, "LOOK_AT_ONCE", 3)
    stores = [SessionStore() for _ in range(8)]
    for store in stores:
        store.create()
    for store in stores[::2]:
        store.delete(store.session_key)
    assert sessions.missing([store.hash for store in stores]) == {store.hash for store in stores[::2]}
    assert sessions.missing([]) == set()
