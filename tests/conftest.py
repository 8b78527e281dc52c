"""What every test can use: the worker's own Valkey, people called alice and bob, and whole sites to drive."""

import inspect
from collections.abc import Iterator

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
from intellicolab.redis.client import Role, aclose, client, close
from intellicolab.redis.counters import counters
from intellicolab.redis.embedded import EmbeddedServer

from .environment import topology
from .site import Site
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
    for buffer in registry.values():
        buffer.breaker.succeeded()
    owed.close()


@pytest.fixture(autouse=True)
def plain_static_files(settings):
    """Templates name static files as they lie in the tree: hashed names need `collectstatic`, which a site has run."""
    backend = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": backend}}


@pytest.fixture
def fast_passwords(settings):
    """Argon2 takes its time by design; tests of other things need not wait for it."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def make_user(fast_passwords):
    """Call with a name: a person who can sign in with `PASSWORD`."""
    from accounts.models import User

    def make(name: str, **fields):
        return User.objects.create_user(f"{name}@example.org", PASSWORD, display_name=name.title(), **fields)

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
def unhurried_publisher(monkeypatch):
    """For tests of what is published: what a loaded machine has not sent after its deadline is left to healing."""
    monkeypatch.setattr("realtime.publisher.DEADLINE", 5.0)


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


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """A running installation for tests that only use it; who kills or stops one makes their own."""
    running = Site()
    try:
        yield running.start()
        running.stop()
    finally:
        running.remove()
