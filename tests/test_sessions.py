"""Sessions: nobody is signed out by an outage of Redis, which is really stopped, killed and frozen here."""

import hashlib
import json
import time

import pytest
from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpResponse
from django.test import RequestFactory

from accounts.middleware import SessionMiddleware
from accounts.sessions import SessionStore, SessionUnavailable
from intellicolab.errors import session_outage
from intellicolab.redis.client import Role
from intellicolab.redis.client import client as redis_client

from .conftest import PASSWORD

pytestmark = pytest.mark.topology

COOKIE = settings.SESSION_COOKIE_NAME


def sign_in(client, email="alice@example.org"):
    return client.post("/accounts/login/", {"login": email, "password": PASSWORD})


@pytest.fixture
def signed_in(client, alice):
    assert sign_in(client).status_code == 302
    assert client.get("/profile/").status_code == 200
    return client


def assert_outage(response):
    assert response.status_code == 503
    assert int(response["Retry-After"]) > 0
    assert not response.cookies
    assert "no-store" in response["Cache-Control"]


def stored_name(key):
    return f"ic:session:1:{hashlib.sha256(key.encode()).hexdigest()}"


# --- Outages ---------------------------------------------------------------------------------------------------------


def test_a_killed_redis_is_a_503_page_and_afterwards_everyone_is_still_signed_in(signed_in, redis_server):
    cookie = signed_in.cookies[COOKIE].value
    redis_server.kill()
    response = signed_in.get("/profile/")
    assert_outage(response)
    assert "Nobody has been signed out" in response.content.decode()
    assert signed_in.cookies[COOKIE].value == cookie
    redis_server.start()
    assert signed_in.get("/profile/").status_code == 200


def test_a_frozen_redis_is_a_503_page_within_the_timeout(signed_in, redis_server):
    redis_server.pause()
    try:
        start = time.monotonic()
        assert_outage(signed_in.get("/profile/"))
        assert time.monotonic() - start < 3.0
        for _ in range(20):  # and nobody else waits for it: four threads serve everyone
            assert_outage(signed_in.get("/profile/"))
        assert time.monotonic() - start < 5.5
    finally:
        redis_server.resume()
    deadline = time.monotonic() + 5
    while signed_in.get("/profile/").status_code == 503:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert signed_in.get("/profile/").status_code == 200


def test_json_clients_are_told_of_an_outage_in_json(signed_in, redis_server):
    redis_server.kill()
    response = signed_in.get("/profile/", headers={"accept": "application/json"})
    assert_outage(response)
    assert response["Content-Type"] == "application/json"
    assert set(json.loads(response.content)) == {"error", "detail"}


def test_visitors_without_a_session_get_pages_that_need_none(client, alice, redis_server):
    redis_server.kill()
    response = client.get("/accounts/login/")
    assert response.status_code == 200
    assert client.get("/nowhere/").status_code == 404


def test_signing_in_during_an_outage_is_refused_whole(client, alice, redis_server):
    client.get("/accounts/login/")
    redis_server.kill()
    assert_outage(sign_in(client))
    redis_server.start()
    assert client.get("/profile/").status_code == 302
    assert sign_in(client).status_code == 302
    assert client.get("/profile/").status_code == 200


def test_signing_out_during_an_outage_leaves_the_person_signed_in(signed_in, redis_server):
    redis_server.kill()
    assert_outage(signed_in.post("/accounts/logout/"))
    redis_server.start()
    assert signed_in.get("/profile/").status_code == 200


def test_health_is_answered_whatever_cookie_comes_along(signed_in, redis_server):
    redis_server.kill()
    response = signed_in.get("/healthz")
    assert response.status_code == 200
    assert not response.cookies


def run(view, **cookies):
    """One request through the session middleware alone, as `view` answers it."""
    request = RequestFactory().get("/")
    request.COOKIES.update(cookies)
    return SessionMiddleware(view)(request)


def saved_session(**data):
    session = SessionStore()
    session.update(data)
    session.create()
    return session


def test_redis_that_dies_between_loading_and_saving_costs_no_cookie(redis_server):
    session = saved_session(colour="green")

    def view(request):
        request.session["colour"] = "blue"
        redis_server.kill()
        response = HttpResponse("done")
        response.set_cookie("csrftoken", "abc")
        return response

    assert_outage(run(view, **{COOKIE: session.session_key}))
    redis_server.start()
    assert SessionStore(session.session_key)["colour"] == "green"


def test_redis_that_dies_during_a_sign_out_costs_no_cookie(redis_server):
    session = saved_session(colour="green")

    def view(request):
        redis_server.kill()
        try:
            request.session.flush()
        except SessionUnavailable as error:
            return middleware.process_exception(request, error)
        raise AssertionError("the session was deleted in a Redis that is dead")

    middleware = SessionMiddleware(view)
    request = RequestFactory().get("/")
    request.COOKIES[COOKIE] = session.session_key
    assert_outage(middleware(request))


def test_what_the_inner_middlewares_put_on_the_503_is_taken_off():
    def view(request):
        response = session_outage(request)
        response.set_cookie("csrftoken", "abc")
        response.delete_cookie("messages")
        return response

    assert_outage(run(view))


@pytest.mark.parametrize("method", ["load", "save", "create", "delete", "cycle_key", "flush"])
def test_no_method_of_the_store_swallows_an_outage(redis_server, method):
    session = SessionStore(saved_session(colour="green").session_key)
    session["colour"] = "blue"
    redis_server.kill()
    with pytest.raises(SessionUnavailable):
        getattr(session, method)()
    with pytest.raises(SessionUnavailable):
        session.exists("k" * 32)


# --- What is stored ------------------------------------------------------------------------------------------------


def test_a_session_is_json_for_24_hours_under_the_hash_of_its_key(signed_in, alice):
    key = signed_in.cookies[COOKIE].value
    redis = redis_client(Role.STATE)
    value = redis.get(stored_name(key))
    assert isinstance(value, bytes)
    stored = json.loads(value)
    assert stored["_auth_user_id"] == str(alice.pk)
    assert 24 * 3600 - 60 < redis.ttl(stored_name(key)) <= 24 * 3600
    assert not any(key.encode() in name for name in redis.scan_iter())


def test_the_cookie_is_for_our_pages_only(client, alice, settings):
    settings.SESSION_COOKIE_SECURE = True
    cookie = sign_in(client).cookies[COOKIE]
    assert cookie["httponly"]
    assert cookie["secure"]
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] == 24 * 3600


def test_a_key_that_we_never_gave_out_is_not_taken_up(client, alice):
    chosen = "chosenbyanattacker00000000000000"
    client.cookies[COOKIE] = chosen
    sign_in(client)
    assert client.cookies[COOKIE].value != chosen
    assert not SessionStore().exists(chosen)


def test_a_session_ended_elsewhere_is_not_brought_back_by_a_late_save():
    late = SessionStore(saved_session(colour="green").session_key)
    late["colour"] = "blue"
    SessionStore(late.session_key).delete()
    with pytest.raises(UpdateError):
        late.save()
    assert not late.exists(late.session_key)


def test_a_session_that_is_not_readable_is_given_up(client, alice):
    sign_in(client)
    redis_client(Role.STATE).set(stored_name(client.cookies[COOKIE].value), b"\x80not json")
    assert client.get("/profile/").status_code == 302
    sign_in(client)
    assert client.get("/profile/").status_code == 200


def test_a_page_that_reads_no_session_does_not_vary_on_the_cookie():
    cookies = {COOKIE: saved_session(colour="green").session_key}
    assert "Vary" not in run(lambda request: HttpResponse("same for all"), **cookies)
    response = run(lambda request: HttpResponse(request.session["colour"]), **cookies)
    assert response.content == b"green"
    assert response["Vary"] == "Cookie"


# --- Async -----------------------------------------------------------------------------------------------------------


async def test_async_and_sync_share_a_session(async_redis):
    session = SessionStore()
    await session.aset("colour", "green")
    await session.asave()
    assert SessionStore(session.session_key)["colour"] == "green"
    again = SessionStore(session.session_key)
    assert await again.aget("colour") == "green"
    assert await again.aexists(session.session_key)
    await again.aset("colour", "blue")
    await again.asave()
    assert SessionStore(session.session_key)["colour"] == "blue"
    await again.adelete()
    assert not await again.aexists(session.session_key)
    with pytest.raises(UpdateError):
        await again.asave()


async def test_an_unknown_key_is_given_up_in_async_code(async_redis):
    session = SessionStore("u" * 32)
    assert await session.aload() == {}
    assert session.session_key is None


async def test_no_async_method_swallows_an_outage(redis_server, async_redis):
    session = SessionStore(saved_session(colour="green").session_key)
    await session.aset("colour", "blue")
    redis_server.kill()
    for call in (session.aload, session.asave, session.acreate, session.adelete):
        with pytest.raises(SessionUnavailable):
            await call()
