"""What becomes of the devices' page, and of sign-outs, while Redis is really killed or frozen."""

import pytest
from django.conf import settings
from django.test import Client

from accounts import devices, services, sessions
from accounts.models import User

from .conftest import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/profile/devices/"


def browser():
    """One of Alice's own, signed in."""
    client = Client()
    assert client.post("/accounts/login/", {"login": "alice@example.org", "password": PASSWORD}).status_code == 302
    return client


def hash_of(client):
    return sessions.hash_of(client.cookies[settings.SESSION_COOKIE_NAME].value)


def is_signed_in(client):
    return client.get("/profile/").status_code == 200


def assert_outage(response):
    assert response.status_code == 503
    assert not response.cookies


def test_the_page_and_the_sign_out_say_so_and_nobody_is_signed_out(alice, redis_server):
    other, here = browser(), browser()
    session = hash_of(other)
    redis_server.pause()
    try:
        assert_outage(here.get(PAGE))
        assert_outage(here.post(f"{PAGE}sign-out/", {"device": session}))
        assert_outage(here.post(f"{PAGE}sign-out-others/"))
    finally:
        redis_server.resume()
    sessions.breaker.succeeded()
    assert is_signed_in(other)
    assert is_signed_in(here)


def test_a_redis_that_dies_before_the_sessions_are_ended_is_no_success(alice, redis_server):
    here = browser()
    redis_server.kill()
    for end in (lambda: devices.end_all(alice.pk), lambda: devices.end_one(alice.pk, hash_of(here))):
        with pytest.raises(sessions.SessionUnavailable):
            end()
    with pytest.raises(sessions.SessionUnavailable):
        sessions.end(alice.pk, [hash_of(here)])


def test_a_note_that_cannot_be_made_costs_no_answer(alice, redis_server, caplog):
    caplog.set_level("DEBUG", "accounts")
    session = hash_of(browser())
    devices._noted.clear()
    redis_server.kill()
    devices.touch(alice.pk, session, "Firefox/1", "198.51.100.7")
    assert "The use of a session could not be noted" in caplog.text


def test_a_deactivation_is_made_and_logged(alice, redis_server, caplog):
    browser()
    redis_server.kill()
    services.set_active([alice], False)
    assert not User.objects.get(pk=alice.pk).is_active
    assert "not deleted, only refused" in caplog.text
