"""What every test can use: the worker's own Valkey, people called alice and bob, and whole sites to drive."""

import inspect
import os
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings
from django.core.cache import caches
from django.test import Client

from accounts import sessions
from intellicolab import threads
from intellicolab.cache import gateway
from intellicolab.cache.behind import registry
from intellicolab.cache.owed import owed
from intellicolab.cache.tracking import tracker
from intellicolab.redis.client import READ_TIMEOUT, Purpose, Role, aclose, client, close
from intellicolab.redis.counters import counters
from intellicolab.redis.embedded import EmbeddedServer
from ratelimit.limiter import limiter
from realtime import hot_messages

from .environment import topology
from .site import Site
from .sockets import HOST, Socket
from .topologies import Topology

PASSWORD = "correct horse battery"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test that names `redis_server` kills or pauses it, so it is for the one embedded server; a site has its own."""
    if topology is None:
        return
    fit = [
        item
        for item in items
        if "redis_server" not in inspect.signature(item.obj).parameters  # type: ignore[attr-defined]
        and "site" not in item.fixturenames  # type: ignore[attr-defined]
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in fit])
    items[:] = fit


@pytest.fixture(scope="session", autouse=True)
def redis_server() -> Iterator[EmbeddedServer | Topology]:
    """The real server behind this worker's settings. A test may kill, pause or stop it and must start it again.

    With TEST_REDIS it is what that names, and tests that ask for it are left out.
    """
    server = topology or EmbeddedServer(settings.REDIS_DIR)
    server.start()
    # A test flushes what it counted itself: the thread that does it each second would commit a fact (somebody is
    # refused again and again) beside the test's transaction, which outlives it.
    counters._start = lambda: None  # type: ignore[method-assign]
    counters.stop()  # what Django's set-up or the migrations counted has started it already
    yield server
    counters.stop()
    close()
    server.stop()


@pytest.fixture(autouse=True)
def clean_redis(redis_server: EmbeddedServer) -> Iterator[None]:
    """Each test starts with an empty server, which is this worker's own, and nothing kept in the process."""
    yield
    tracker.close()
    close()  # a test may have pointed the settings elsewhere
    if topology is not None:
        topology.flush()
    else:
        if not redis_server.alive:
            redis_server.start()
        client(Role.STATE).flushall()
    gateway.breaker.succeeded()
    sessions.breaker.succeeded()  # the next test has a server that answers, and must not wait to find that out
    limiter.breaker.succeeded()
    hot_messages.breaker.succeeded()
    for buffer in registry.values():
        buffer.breaker.succeeded()
    owed.close()


@pytest.fixture(autouse=True)
def plain_static_files(settings):
    """Templates name static files as they lie in the tree: hashed names need `collectstatic`, which a site has run."""
    backend = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": backend}}


@pytest.fixture
def relay():
    """Carries what is in the outbox, from its own thread."""
    from intellicolab.events.relay import Relay

    running = Relay()
    running.start()
    yield running
    running.stop()


@pytest.fixture
def fast_passwords(settings):
    """Argon2 takes its time by design; tests of other things need not wait for it."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def make_user(fast_passwords):
    """Call with a name: a person who can sign in with `PASSWORD`."""
    from accounts.models import User

    def make(name: str, **fields):
        address = f"{name.replace(' ', '.')}@example.org"
        return User.objects.create_user(address, PASSWORD, display_name=name.title(), **fields)

    return make


@pytest.fixture
def alice(db, make_user):
    return make_user("alice")


@pytest.fixture
def bob(db, make_user):
    return make_user("bob")


@pytest.fixture
def charlie(db, make_user):
    return make_user("charlie")


@pytest.fixture
def root(db, make_user):
    """The administrator of an installation that has been set up."""
    from accounts.models import Installation

    user = make_user("root", is_staff=True, is_superuser=True)
    Installation.objects.create(administrator=user)
    return user


@pytest.fixture
def admin(client, root):
    """That person's browser."""
    client.force_login(root)
    return client


@pytest.fixture
def staff(client, root, make_user):
    """Call with permissions: the browser of somebody who may open the admin and has these."""
    from django.contrib.auth.models import Permission

    def sign_in(*permissions):
        user = make_user("charlie", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def browser_of():
    """Call with a person: a browser where they are signed in, of an installation that has been set up."""
    from accounts.models import Installation

    def sign_in(user) -> Client:
        Installation.objects.get_or_create(defaults={"administrator": user})
        browser = Client()
        browser.force_login(user)
        return browser

    return sign_in


@pytest.fixture
def open_socket(settings):
    """Call with a person: their socket, not yet connected."""
    from channels.routing import URLRouter

    from realtime.committer import committer
    from realtime.publisher import publisher
    from realtime.routing import websocket_urlpatterns

    settings.ALLOWED_HOSTS = [HOST]

    def cookie_of(user):
        client = Client()
        client.force_login(user)
        return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"

    async def open_(user, origin=f"http://{HOST}"):
        headers = [(b"host", HOST.encode()), (b"origin", origin.encode())]
        if user is not None:
            headers.append((b"cookie", (await threads.run(cookie_of, user)).encode()))
        return Socket(URLRouter(websocket_urlpatterns), "/ws/", headers=headers)

    yield open_
    committer.drain()
    committer.reopen()
    publisher.stop()


@pytest.fixture
async def hub():
    """The loop's hub, closed when the test ends."""
    from realtime.hub import Hub

    yield Hub.here()
    await Hub.here().close()


@pytest.fixture
def people(make_user):
    """Alice, who owns the room General, Bob, who is in it, and the room."""
    from realtime import services

    alice, bob = make_user("alice"), make_user("bob")
    room = services.create_room(alice, "General")
    services.join_room(bob, room)
    return alice, bob, room


@pytest.fixture
def catch_up():
    """Call to have every group handle all facts, as the worker does; to call it again changes nothing more."""
    from intellicolab.events.groups import groups
    from intellicolab.events.handling import Entry, handle
    from intellicolab.events.models import DeadLetter, OutboxRow

    def handle_all():
        for group in groups():
            for stream in group.streams:
                rows = OutboxRow.objects.filter(stream=stream).order_by("pk")
                entries = [Entry(row.pk, row.name, row.version, row.data.encode()) for row in rows]
                assert not handle(group, stream, entries).again
        assert not DeadLetter.objects.exists()

    return handle_all


@pytest.fixture
def unhurried_publisher(monkeypatch):
    """For tests of what is published: what a loaded machine has not sent after its deadline is left to healing."""
    monkeypatch.setattr("realtime.publisher.DEADLINE", 5.0)


@pytest.fixture
def hurried():
    """The limiter gives up after the time that it has."""


@pytest.fixture
def patient(monkeypatch):
    """On a loaded machine the limiter waits for its answers."""
    monkeypatch.setitem(READ_TIMEOUT, Purpose.FAST, 5.0)


@pytest.fixture
def make_policy(request, db, settings):
    """Call with a name and fields: the limits are on, with only these policies.

    The limiter is `patient`, but where a test asks to be `hurried`.
    """
    from ratelimit.book import book
    from ratelimit.models import Policy
    from ratelimit.traffic import traffic

    if "hurried" not in request.fixturenames:
        request.getfixturevalue("patient")
    book.forget()
    traffic.start_afresh()  # a busy test has made its sample smaller
    settings.RATELIMIT_ENABLED = True
    Policy.objects.all().delete()

    def make(name: str = "tried", **fields):
        given = {"mode": Policy.Mode.ENFORCE, "identity": Policy.Identity.ADDRESS, "limit": "3/min", **fields}
        policy = Policy(name=name, **given)
        policy.full_clean()
        policy.save()
        book.expire()  # what is inside a test's transaction is never told
        return policy

    yield make
    book.forget()


@pytest.fixture
async def async_redis():
    """For tests that use async clients: disconnects the loop's pools while the loop still runs."""
    yield
    await aclose()


@pytest.fixture(autouse=True)
def threads_of_its_own() -> Iterator[None]:
    """Worker threads end with their test: the database connections that they keep are for that test."""
    yield
    threads.close()


@pytest.fixture(autouse=True)
def close_caches() -> Iterator[None]:
    yield
    caches.close_all()


@pytest.fixture
def site_database():
    """The variables that give a site a database of its own; none on SQLite, where its folder has one."""
    server = os.environ.get("TEST_POSTGRES_URL") if os.environ.get("TEST_DATABASE") == "postgres" else None
    if server is None:
        yield {}
        return
    name = f"site_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield {"DATABASE_URL": urlsplit(server)._replace(path=f"/{name}").geturl(), "SECRET_KEY": "k" * 50}
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """A running installation for tests that only use it; who kills or stops one makes their own."""
    running = Site()
    try:
        yield running.start()
        running.stop()
    finally:
        running.remove()
