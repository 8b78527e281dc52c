"""The cache's server dies while people use the site: every page is answered from the database, nobody is signed out."""

from collections.abc import Iterator

import pytest
from django.test import Client

from accounts.models import Installation
from intellicolab.redis.client import Role, client
from realtime import services
from realtime.models import Room

from .topologies import Server, settings_of, until, valkey

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cache_server(settings) -> Iterator[Server]:
    """The cache role's own server; the state stays where it is."""
    server = Server(valkey())
    try:
        server.start()
        with settings_of(settings, settings.REDIS_URLS["state"], f"redis://{server.name}/0"):
            yield server
    finally:
        server.stop()


@pytest.fixture
def room(alice) -> Room:
    return services.create_room(alice, "General")


@pytest.fixture
def visitor(alice) -> Client:
    Installation.objects.create(administrator=alice)
    client = Client()
    client.force_login(alice)
    return client


def test_every_page_is_answered_and_the_cache_is_used_again_when_it_is_back(cache_server, visitor, alice, room):
    places = f"/rooms/ /rooms/{room.pk}/ /sidebar /people/ /people/{alice.pk}/ /profile/ /profile/devices/".split()

    def answers() -> list[int]:
        return [visitor.get(place).status_code for place in places]

    well = [200] * len(places)
    assert answers() == well
    cache_server.kill()
    for _ in range(3):
        assert answers() == well
    services.update_room(alice, room, name="Lobby", topic="")
    assert "Lobby" in visitor.get("/rooms/").content.decode()
    cache_server.start()
    until(lambda: answers() == well and client(Role.CACHE).dbsize())
    assert "Lobby" in visitor.get("/rooms/").content.decode()
