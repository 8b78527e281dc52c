"""A person's devices: which sessions are theirs, what is known of each, and that signing one out ends it at once."""

import re
import time

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts import browsers, devices, services, sessions
from accounts.models import User
from accounts.sessions import SessionStore
from accounts.signals import sessions_ended
from intellicolab.redis import keys
from intellicolab.redis.client import Role
from intellicolab.redis.client import client as redis_client

from .conftest import PASSWORD

# Sessions end when the change that ends them has committed.
pytestmark = pytest.mark.django_db(transaction=True)

COOKIE = settings.SESSION_COOKIE_NAME
PAGE = "/profile/devices/"
NEW_PASSWORD = "a wholly different phrase"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.6 Mobile/15E148 Safari/604.1"
)


def browser(user_agent=FIREFOX, address="198.51.100.7", email="alice@example.org", password=PASSWORD):
    """A browser of its own, signed in."""
    client = Client(headers={"user-agent": user_agent}, REMOTE_ADDR=address)
    assert client.post("/accounts/login/", {"login": email, "password": password}).status_code == 302
    return client


def key_of(client):
    return client.cookies[COOKIE].value


def hash_of(client):
    return sessions.hash_of(key_of(client))


def is_signed_in(client):
    return client.get("/profile/").status_code == 200


def text(response):
    return response.content.decode()


def members(user):
    return {name.decode() for name in redis_client(Role.STATE).smembers(keys.sessions_of(user.pk))}


def entry(user, client):
    fields = redis_client(Role.STATE).hgetall(keys.device(user.pk, hash_of(client)))
    return {key.decode(): value.decode() for key, value in fields.items()}


def another_process():
    """Forget what this process has noted of late, as one that has just started."""
    devices._noted.clear()


@pytest.fixture
def news():
    """What is told of ended sessions: (user id, sessions, renewed)."""
    heard = []

    def hear(user_id, sessions, renewed, **kwargs):
        heard.append((user_id, sorted(sessions), renewed))

    sessions_ended.connect(hear)
    yield heard
    sessions_ended.disconnect(hear)


# --- The list ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        (IPHONE, "Safari on iPhone"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 "
            "Safari/537.36 Edg/141.0.0.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/141.0.0.0 Safari/537.36",
            "Chrome on macOS",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 "
            "Chrome/130.0.0.0 Mobile Safari/537.36",
            "Samsung Internet on Android",
        ),
        (
            "Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/141.0.0.0 "
            "Mobile/15E148 Safari/604.1",
            "Chrome on iPad",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 "
            "Safari/537.36 OPR/125.0.0.0",
            "Opera on Windows",
        ),
        ("curl/8.5.0", "curl"),
        ("Something (Windows) of one's own", "Unknown browser on Windows"),
        ("x" * 10_000 + "Firefox/1", "Unknown browser"),
        ("", "Unknown browser"),
    ],
)
def test_a_user_agent_is_put_into_words(user_agent, words):
    assert browsers.described(user_agent) == words


def test_the_page_shows_each_device_and_marks_this_one(alice):
    phone, here = browser(IPHONE, "2001:db8::7"), browser()
    page = text(here.get(PAGE))
    rows = [re.sub(r"\s+", " ", row) for row in re.findall(r'<li class="row">(.*?)</li>', page, re.DOTALL)]
    assert len(rows) == 2
    assert "Firefox on Linux" in rows[0]
    assert "this device" in rows[0]
    assert "198.51.100.7" in rows[0]
    assert "Sign out" not in rows[0]
    assert "Safari on iPhone" in rows[1]
    assert "2001:db8::7" in rows[1]
    assert "<time data-relative datetime=" in rows[1]
    assert f'value="{hash_of(phone)}"' in rows[1]
    assert reverse("devices") in text(here.get("/profile/"))


def test_the_page_escapes_and_bounds_what_a_browser_says_of_itself(alice):
    here = browser('<script>"Firefox/1', "198.51.100.7")
    assert "<script>&quot;" not in text(here.get(PAGE))
    assert entry(alice, here)["browser"] == "Firefox"  # only the words are kept


def test_a_stranger_is_sent_to_sign_in(client, alice):
    assert client.get(PAGE)["Location"].startswith("/accounts/login/")
    assert client.post(f"{PAGE}sign-out-others/").status_code == 302


@pytest.mark.topology
def test_nothing_of_a_device_outlives_its_session_and_no_key_is_stored(alice):
    here = browser()
    redis = redis_client(Role.STATE)
    left = redis.pttl(sessions.name_of(hash_of(here)))
    for name in (keys.sessions_of(alice.pk), keys.device(alice.pk, hash_of(here))):
        assert left - 5000 < redis.pttl(name) <= left + 5000
    assert key_of(here) not in str([members(alice), entry(alice, here)])
    here.post("/accounts/logout/")
    assert not redis.exists(keys.device(alice.pk, hash_of(here)))
    assert members(alice) == set()


@pytest.mark.topology
def test_expired_sessions_leave_the_list_and_the_set_when_it_is_read(alice):
    gone, here = browser(IPHONE), browser()
    session = hash_of(gone)
    redis_client(Role.STATE).delete(sessions.name_of(session))  # as its TTL would
    assert members(alice) == {session, hash_of(here)}
    assert [device.session for device in devices.of(alice.pk)] == [hash_of(here)]
    assert members(alice) == {hash_of(here)}
    assert not redis_client(Role.STATE).exists(keys.device(alice.pk, session))


@pytest.mark.topology
def test_a_session_that_is_stored_while_the_list_is_read_stays_on_it(alice, monkeypatch):
    here, look = browser(), devices._looked_up
    name, redis = sessions.name_of(hash_of(here)), redis_client(Role.STATE)
    stored = redis.get(name)
    redis.delete(name)  # a sign-in lists its session first and stores it then

    def stored_after_the_look(*args):
        answers = look(*args)
        redis.set(name, stored, ex=60)
        return answers

    monkeypatch.setattr(devices, "_looked_up", stored_after_the_look)
    assert devices.of(alice.pk) == []
    assert members(alice) == {hash_of(here)}
    assert devices.end_all(alice.pk) == 1
    assert not is_signed_in(here)


@pytest.mark.topology
def test_a_session_that_is_not_on_the_list_comes_onto_it_with_its_next_request(alice):
    here = browser()
    redis_client(Role.STATE).delete(keys.sessions_of(alice.pk), keys.device(alice.pk, hash_of(here)))
    another_process()
    assert "Firefox on Linux" in text(here.get(PAGE))
    assert members(alice) == {hash_of(here)}
    assert entry(alice, here)["address"] == "198.51.100.7"


def test_a_session_without_an_entry_is_shown_all_the_same(alice):
    store = SessionStore()
    store["_auth_user_id"] = str(alice.pk)
    store.create()
    [device] = devices.of(alice.pk)
    assert (device.session, device.browser, device.seen) == (store.hash, "Unknown browser", None)
    assert "Not used yet" in text(browser().get(PAGE))


@pytest.mark.topology
def test_use_is_written_at_most_once_a_minute_by_however_many_processes(alice):
    here, redis = browser(), redis_client(Role.STATE)
    name = keys.device(alice.pk, hash_of(here))
    redis.delete(name)
    here.get("/profile/")
    assert not redis.exists(name)  # this process asks Redis only once a minute
    then = int(time.time()) - devices.NOTE_SECONDS + 10
    redis.hset(name, "seen", then)
    another_process()
    here.get("/profile/")
    assert entry(alice, here) == {"seen": str(then)}
    redis.hset(name, "seen", then - 10)
    another_process()
    here.get("/profile/")
    assert int(entry(alice, here)["seen"]) > then


@pytest.mark.topology
def test_a_session_that_ended_a_moment_ago_is_not_noted(alice):
    devices.touch(alice.pk, "0" * 64, FIREFOX, "198.51.100.7")
    assert members(alice) == set()
    assert not redis_client(Role.STATE).exists(keys.device(alice.pk, "0" * 64))


@pytest.mark.topology
def test_a_session_that_ends_while_it_is_noted_leaves_nothing_behind(alice, monkeypatch):
    here, touch = browser(), devices._touch

    def ended_before_the_script(*args):
        sessions.end(alice.pk, [hash_of(here)])
        return touch(*args)

    monkeypatch.setattr(devices, "_touch", ended_before_the_script)
    another_process()
    devices.touch(alice.pk, hash_of(here), FIREFOX, "198.51.100.7")
    assert members(alice) == set()
    assert not redis_client(Role.STATE).exists(keys.device(alice.pk, hash_of(here)))


@pytest.mark.topology
def test_the_list_lives_as_long_as_the_longest_of_its_sessions(alice):
    here, redis = browser(), redis_client(Role.STATE)
    redis.expire(keys.sessions_of(alice.pk), 60)  # as one of a session that is nearly over
    redis.delete(keys.device(alice.pk, hash_of(here)))
    another_process()
    here.get("/profile/")
    assert redis.ttl(keys.sessions_of(alice.pk)) > 23 * 3600
    redis.expire(sessions.name_of(hash_of(here)), 60)
    redis.delete(keys.device(alice.pk, hash_of(here)))
    another_process()
    here.get("/profile/")
    assert redis.ttl(keys.device(alice.pk, hash_of(here))) <= 60
    assert redis.ttl(keys.sessions_of(alice.pk)) > 23 * 3600


@pytest.mark.topology
def test_a_new_key_takes_the_place_of_the_old_one(alice, news):
    here = browser()
    old = hash_of(here)
    store = SessionStore(key_of(here))
    store.load()
    store.preload()
    store.cycle_key()
    assert members(alice) == {store.hash} != {old}
    assert not redis_client(Role.STATE).exists(keys.device(alice.pk, old))
    assert news == [(alice.pk, [old], True)]


@pytest.mark.topology
def test_beyond_the_bound_a_sign_in_ends_the_session_used_least_recently(alice, monkeypatch):
    monkeypatch.setattr(devices, "MAX_SESSIONS", 3)
    first, second, third = browser(), browser(), browser()
    for age, client in ((50, first), (90, second), (70, third)):
        redis_client(Role.STATE).hset(keys.device(alice.pk, hash_of(client)), "seen", int(time.time()) - age)
    fourth = browser()
    assert [is_signed_in(client) for client in (first, second, third, fourth)] == [True, False, True, True]


# --- Signing out ---------------------------------------------------------------------------------------------------


@pytest.mark.topology
def test_one_device_is_signed_out_at_once(alice, news):
    phone, here = browser(IPHONE), browser()
    session = hash_of(phone)
    response = here.post(f"{PAGE}sign-out/", {"device": session}, follow=True)
    assert "That device is signed out." in text(response)
    assert not redis_client(Role.STATE).exists(sessions.name_of(session))
    assert news == [(alice.pk, [session], False)]
    assert not is_signed_in(phone)
    assert is_signed_in(here)
    assert "signed out already" in text(here.post(f"{PAGE}sign-out/", {"device": session}, follow=True))


def test_signing_out_takes_a_post_and_a_token(alice):
    here = browser()
    assert here.get(f"{PAGE}sign-out/").status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = here.cookies
    assert strict.post(f"{PAGE}sign-out-others/").status_code == 403


def test_a_device_of_somebody_else_is_left_alone(alice, bob):
    theirs, here = browser(email="bob@example.org"), browser()
    here.post(f"{PAGE}sign-out/", {"device": hash_of(theirs)})
    assert is_signed_in(theirs)
    assert members(bob) == {hash_of(theirs)}


def test_this_device_is_signed_out_as_ever(alice):
    here = browser()
    assert here.post(f"{PAGE}sign-out/", {"device": hash_of(here)})["Location"] == "/accounts/login/"
    assert not is_signed_in(here)


@pytest.mark.topology
def test_all_other_devices_are_signed_out_and_this_one_stays(alice, bob, news):
    others, theirs, here = [browser(IPHONE), browser(FIREFOX)], browser(email="bob@example.org"), browser()
    ended = sorted(map(hash_of, others))
    assert "2 other devices are signed out." in text(here.post(f"{PAGE}sign-out-others/", follow=True))
    assert news == [(alice.pk, ended, False)]
    assert [is_signed_in(client) for client in (*others, here, theirs)] == [False, False, True, True]
    assert members(alice) == {hash_of(here)}
    assert "No other device" in text(here.post(f"{PAGE}sign-out-others/", follow=True))


def test_signing_out_takes_the_device_off_the_list_and_is_told(alice, news):
    here = browser()
    session = hash_of(here)
    here.post("/accounts/logout/")
    assert members(alice) == set()
    assert news == [(alice.pk, [session], False)]


# --- What else ends sessions ---------------------------------------------------------------------------------------


def change_password(client):
    form = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert client.post("/accounts/password/change/", form).status_code == 302


@pytest.mark.topology
def test_a_new_password_ends_all_other_sessions_and_renews_this_one(alice, news):
    other, here = browser(IPHONE), browser()
    ended, old, copied = hash_of(other), hash_of(here), Client()
    copied.cookies[COOKIE] = key_of(here)
    change_password(here)
    assert not redis_client(Role.STATE).exists(sessions.name_of(ended))
    assert is_signed_in(here)
    assert members(alice) == {hash_of(here)} != {old}
    assert entry(alice, here)["browser"] == "Firefox on Linux"
    assert sorted(news) == sorted([(alice.pk, [ended], False), (alice.pk, [old], True)])
    assert not is_signed_in(copied)
    assert not is_signed_in(other)


def test_a_password_reset_by_mail_ends_all_sessions(alice, mailoutbox):
    EmailAddress.objects.create(user=alice, email=alice.email, primary=True, verified=True)
    signed_in = [browser(), browser(IPHONE)]
    names = [sessions.name_of(hash_of(client)) for client in signed_in]
    here = signed_in[0]
    here.post("/accounts/password/reset/", {"email": alice.email})
    link = re.search(r"/accounts/password/reset/key/\S+", mailoutbox[-1].body).group(0)
    form = here.get(link)["Location"]
    assert here.post(form, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}).status_code == 302
    assert not redis_client(Role.STATE).exists(*names)
    assert members(alice) == set()
    assert not is_signed_in(here)
    assert is_signed_in(browser(password=NEW_PASSWORD))


def test_a_password_set_or_taken_away_elsewhere_ends_all_sessions(alice):
    for change in (lambda user: user.set_password(NEW_PASSWORD), lambda user: user.set_unusable_password()):
        services._sign_out(alice.pk, None)
        User.objects.get(pk=alice.pk).save()
        store = SessionStore()
        store["_auth_user_id"] = str(alice.pk)
        store.create()
        user = User.objects.get(pk=alice.pk)
        user.save()
        assert members(alice) == {store.hash}
        change(user)
        user.save()
        assert members(alice) == set()
        assert not store.exists(store.session_key)


def test_deactivation_ends_all_sessions_for_good(alice):
    here = browser()
    services.set_active([alice], False)
    assert members(alice) == set()
    services.set_active([alice], True)
    assert not is_signed_in(here)


def test_a_deactivation_by_the_form_and_a_deletion_end_them_too(alice, bob):
    here, theirs = browser(), browser(email="bob@example.org")
    names = [sessions.name_of(hash_of(client)) for client in (here, theirs)]
    alice.is_active = False
    alice.save()
    bob.delete()
    assert not redis_client(Role.STATE).exists(*names)


def act(client, *users):
    chosen = {"action": "sign_out", "_selected_action": [user.pk for user in users]}
    return client.post("/admin/accounts/user/", chosen, follow=True)


@pytest.mark.topology
def test_an_administrator_signs_people_out_and_stays(alice, bob, make_user):
    make_user("dora", is_staff=True, is_superuser=True)
    signed_in = [browser(), browser(IPHONE), browser(email="bob@example.org"), browser(email="dora@example.org")]
    admin = browser(email="dora@example.org")
    assert "4 devices were signed out." in text(act(admin, *User.objects.all()))
    assert not any(map(is_signed_in, signed_in))
    assert is_signed_in(admin)


def test_who_may_edit_accounts_cannot_sign_a_superuser_out(alice, make_user):
    make_user("dora", is_superuser=True)
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    alice.user_permissions.set(Permission.objects.filter(content_type__app_label="accounts"))
    theirs, here = browser(email="dora@example.org"), browser()
    assert "0 devices were signed out." in text(act(here, *User.objects.filter(is_superuser=True)))
    assert is_signed_in(theirs)


# --- Async -----------------------------------------------------------------------------------------------------------


@pytest.mark.topology
async def test_async_code_lists_and_ends_sessions_too(async_redis, news):
    store = SessionStore()
    await store.aset("_auth_user_id", "7")
    await store.asave()
    old = store.hash
    assert await store.aexists(store.session_key)
    redis = redis_client(Role.STATE)
    assert redis.smembers(keys.sessions_of(7)) == {old.encode()}
    await store.acycle_key()
    new = store.hash
    assert redis.smembers(keys.sessions_of(7)) == {new.encode()}
    await store.aflush()
    assert not redis.exists(keys.sessions_of(7))
    assert news == [(7, [old], True), (7, [new], False)]
