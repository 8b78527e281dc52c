"""Requests against a real server: exact, honest about when to come back, and told in the draft's fields."""

import json
import logging
import subprocess
import sys
import time

import pytest
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from intellicolab.redis import keys
from intellicolab.redis.client import Role
from intellicolab.redis.client import client as redis_client
from ratelimit.identity import named
from ratelimit.limits import aenforce, enforce, limit
from ratelimit.middleware import RateLimitMiddleware
from ratelimit.models import Policy
from ratelimit.rules import Algorithm

from .limits import BROWSER, FIRST, SECOND, Visit, counted, key_of, look_again, statuses, stored

pytestmark = pytest.mark.django_db

FIXED = {"algorithm": Algorithm.FIXED_WINDOW}


@pytest.fixture
def visit():
    return Visit()


# --- Counting ---


@pytest.mark.topology
def test_admits_the_limit_and_refuses_the_next(visit, make_policy):
    make_policy(limit="3/min", **FIXED)
    assert statuses(visit, 5) == [200, 200, 200, 429, 429]


@pytest.mark.topology
def test_two_addresses_do_not_share_a_limit(visit, make_policy):
    make_policy(limit="3/min")
    assert statuses(visit, 4, FIRST) == [200, 200, 200, 429]
    assert statuses(visit, 4, SECOND) == [200, 200, 200, 429]


def test_addresses_of_one_ipv6_network_share_a_limit(visit, make_policy):
    make_policy(limit="3/min")
    assert statuses(visit, 3, "2001:db8:1:2::1") == [200] * 3
    assert visit("2001:db8:1:2:ffff::9").status_code == 429
    assert visit("2001:db8:1:3::1").status_code == 200


def test_an_ipv4_address_mapped_into_ipv6_is_the_same_sender(visit, make_policy):
    make_policy(limit="1/min")
    assert visit(f"::ffff:{FIRST}").status_code == 200
    assert visit(FIRST).status_code == 429


@pytest.mark.parametrize(
    "address", ["", "not an address", "unix:", "::ffff:999.1.1.1", "a{b}:c\r\nd*", "ü", "1" * 5000, "\udcff"]
)
def test_garbage_for_an_address_is_limited_like_any_other(visit, make_policy, address):
    make_policy(limit="3/min")
    assert statuses(visit, 4, address) == [200, 200, 200, 429]


def test_the_header_that_anyone_can_write_is_not_an_address(visit, make_policy):
    make_policy(limit="3/min")
    forged = [visit(X_Forwarded_For=f"203.0.113.{n}").status_code for n in range(4)]
    assert forged == [200, 200, 200, 429]


@pytest.mark.topology
def test_exactly_a_hundred_of_many_at_once_are_admitted():
    """Four processes, three threads each, 50 requests a thread: 600 at the same moment."""
    code = """
import threading
from intellicolab.redis import client
from ratelimit.limiter import Charge, limiter
from ratelimit.rules import Rule
client.READ_TIMEOUT[client.Purpose.FAST] = 20  # a crowded machine may be slow; the count is what is tested
charge, admitted = Charge(Rule("crowd", 100), "crowd"), []
def ask():
    admitted.extend(limiter.hit([charge]).admitted for _ in range(50))
threads = [threading.Thread(target=ask) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(admitted), sum(admitted))
"""
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [child.communicate(timeout=60)[0].split() for child in children]
    assert [asked for asked, _ in answers] == ["150"] * 4
    assert sum(int(admitted) for _, admitted in answers) == 100


@pytest.mark.topology
def test_a_request_that_one_policy_refuses_does_not_burn_the_others(visit, make_policy):
    make_policy("narrow", limit="1/min", path="/narrow/**")
    make_policy("wide", limit="4/min")
    assert statuses(visit, 4, path="/narrow/x") == [200, 429, 429, 429]
    assert statuses(visit, 4) == [200, 200, 200, 429]


@pytest.mark.topology
def test_two_policies_do_not_share_a_counter(visit, make_policy):
    first, second = make_policy("first"), make_policy("second")
    visit()
    assert sorted(stored()) == sorted([key_of(first), key_of(second)])


def test_no_address_is_kept_in_clear(visit, make_policy):
    policy = make_policy(limit="1/min")
    visit(FIRST)
    assert stored() == [key_of(policy)]
    assert FIRST not in "".join(key.decode() for key in redis_client(Role.STATE).scan_iter())


def test_the_identity_depends_on_the_secret_key(settings):
    before = named("address", FIRST)
    settings.SECRET_KEY = "another key"
    assert named("address", FIRST).hashed != before.hashed


def test_health_checks_are_not_counted(visit, make_policy):
    make_policy(limit="2/min")
    assert statuses(visit, 9, path="/healthz") == [200] * 9
    assert statuses(visit, 9, path="/readyz") == [200] * 9
    assert visit().status_code == 200
    assert statuses(visit, 2, path="/healthzz") == [200, 429]


def test_the_switch_turns_all_limits_off(visit, make_policy, settings):
    make_policy(limit="1/min")
    settings.RATELIMIT_ENABLED = False
    assert statuses(visit, 9) == [200] * 9
    assert stored() == []


@pytest.mark.topology
def test_a_lowered_limit_counts_at_once_with_the_time_that_is_true_then(visit, make_policy):
    policy = make_policy(limit="3/min", **FIXED)
    assert statuses(visit, 2) == [200] * 2
    policy.limit = "2/hour"
    policy.save()
    look_again()
    response = visit()
    assert response.status_code == 429
    assert 3590 < int(response["Retry-After"]) <= 3600


class Anyone(HttpRequest):
    """A request whose user must not be asked for: a lazy one would cost a query."""

    @property
    def user(self):
        pytest.fail("the middleware read request.user")


def test_the_user_is_never_read(make_policy):
    make_policy(limit="1/min", tier=Policy.Tier.ANONYMOUS)
    request = Anyone()
    request.method = "GET"
    request.META = {"REMOTE_ADDR": FIRST, "HTTP_ACCEPT": BROWSER}
    middleware = RateLimitMiddleware(lambda request: HttpResponse())
    assert [middleware(request).status_code for _ in range(2)] == [200, 429]


@pytest.mark.django_db(transaction=True)
def test_a_request_costs_no_query(visit, make_policy, django_assert_num_queries, alice):
    make_policy("visitors", tier=Policy.Tier.ANONYMOUS, limit="100/min")
    make_policy("people", tier=Policy.Tier.AUTHENTICATED, identity="user", limit="100/min")
    session = SessionBase("some")
    session._session_cache = {SESSION_KEY: str(alice.pk)}
    visit(session=session)
    with django_assert_num_queries(0):
        assert statuses(visit, 5, session=session) == [200] * 5


def test_a_session_that_holds_garbage_is_nobodys(visit, make_policy):
    make_policy(limit="1/min", tier=Policy.Tier.ANONYMOUS)
    session = SessionBase("some")
    session._session_cache = {SESSION_KEY: "not a number"}
    assert statuses(visit, 2, session=session) == [200, 429]


def test_a_database_that_fails_does_not_fail_who_needs_none(visit, make_policy, monkeypatch, caplog):
    make_policy(limit="2/min", tier=Policy.Tier.AUTHENTICATED, identity="user")
    session = SessionBase("some")
    session._session_cache = {SESSION_KEY: "7"}

    def fail(user_id):
        raise OperationalError("gone")

    monkeypatch.setattr("accounts.tiers.tier_of", fail)
    assert statuses(visit, 3, session=session) == [200, 200, 429]
    assert "counts as any other" in caplog.text


# --- Time ---


@pytest.mark.topology
def test_the_state_ends_with_its_window(visit, make_policy):
    policy = make_policy(limit="3/min", **FIXED)
    visit()
    assert 0 < redis_client(Role.STATE).pttl(key_of(policy)) <= 60_001


@pytest.mark.topology
def test_after_the_time_told_a_request_passes_and_not_before(visit, make_policy):
    make_policy(limit="2/s", **FIXED)
    began = time.monotonic()
    answers = [visit() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    while visit().status_code == 429:
        assert time.monotonic() - began < 5
        time.sleep(0.002)
    assert time.monotonic() - began >= 1.0


@pytest.mark.topology
def test_script_flush_is_survived(visit, make_policy):
    make_policy(limit="3/min")
    assert statuses(visit, 2) == [200, 200]
    redis_client(Role.STATE).script_flush()
    assert statuses(visit, 2) == [200, 429]


# --- What is told ---


def test_who_is_admitted_learns_what_is_left(visit, make_policy):
    make_policy("page.views", limit="3/min", **FIXED)
    response = visit()
    assert response["RateLimit-Policy"] == '"page.views";q=3;w=60'
    assert response["RateLimit"] == '"page.views";r=2;t=60'
    assert "Retry-After" not in response
    assert "Access-Control-Expose-Headers" not in response


def test_several_policies_are_told_in_their_order(visit, make_policy):
    make_policy("second", limit="9/hour", order=2, **FIXED)
    make_policy("first", limit="3/min", order=1, **FIXED)
    make_policy("third", limit="1/min", order=3, mode="shadow")
    response = visit()
    assert response["RateLimit-Policy"] == '"first";q=3;w=60, "second";q=9;w=3600'
    assert response["RateLimit"].startswith('"first";r=2;t=60, "second";r=8;t=')


def test_scripts_of_other_origins_may_read_the_fields(visit, make_policy):
    make_policy(limit="1/min")
    answers = [visit(Origin="https://other.example") for _ in range(2)]
    assert [answer["Access-Control-Expose-Headers"] for answer in answers] == [
        "RateLimit-Policy, RateLimit, Retry-After"
    ] * 2


@pytest.mark.parametrize("accept", ["application/json", "*/*", "application/json, text/html;q=0.5"])
def test_programs_are_refused_with_a_problem(visit, make_policy, accept):
    make_policy("tight", limit="3/min", **FIXED)
    make_policy("loose", limit="9/min", **FIXED)
    statuses(visit, 3)
    response = visit(Accept=accept)
    seconds = int(response["Retry-After"])
    assert response["Content-Type"] == "application/problem+json"
    body = json.loads(response.content)
    assert body.pop("detail").endswith(f"in {seconds} s.")
    assert body == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Too many requests",
        "status": 429,
        "violated-policies": ["tight"],
        "error": "Too many requests",
        "retryAfter": seconds,
    }
    assert 58 <= seconds <= 60


def test_browsers_are_refused_with_a_page_that_counts_down(visit, make_policy):
    make_policy(limit="1/min", **FIXED)
    visit()
    response = visit(Accept=BROWSER)
    assert response.status_code == 429
    assert response["Content-Type"].startswith("text/html")
    assert f'data-seconds="{response["Retry-After"]}"' in response.content.decode()


@pytest.mark.parametrize("accept", ["text/html; x*=foo''a", "x*=idna''%ff.%00", "\udcff", ";;;=,", "a" * 9000])
def test_no_accept_header_makes_an_error_of_a_refusal(visit, make_policy, accept):
    make_policy(limit="1/min")
    assert statuses(visit, 2, Accept=accept)[1] == 429


def test_a_refusal_is_not_cached(visit, make_policy):
    make_policy(limit="1/min")
    visit()
    response = visit()
    assert response["Cache-Control"] == "no-store"
    assert response["Vary"] == "Accept"


def test_on_the_site_a_refusal_is_a_page_under_the_strict_policy(client, make_policy):
    make_policy(limit="2/min")
    responses = [client.get("/accounts/login/", headers={"Accept": BROWSER}) for _ in range(3)]
    assert [response.status_code for response in responses][-1] == 429
    html = responses[-1].content.decode()
    assert "A moment, please" in html
    assert "style=" not in html
    assert "default-src 'self'" in responses[-1]["Content-Security-Policy"]
    assert responses[-1].cookies == {}


def test_a_flood_does_not_fill_the_log(client, make_policy, caplog):
    make_policy(limit="1/min")
    client.get("/accounts/login/")
    assert client.get("/accounts/login/").status_code == 429
    assert [record for record in caplog.records if record.name == "django.request"] == []


def test_a_cost_above_the_limit_is_never_admitted_and_says_so(visit, make_policy):
    policy = make_policy(limit="3/min", cost=3)
    Policy.objects.filter(pk=policy.pk).update(limit="2/min")
    look_again()
    response = visit()
    assert response.status_code == 429
    assert "Retry-After" not in response
    assert "retryAfter" not in json.loads(response.content)


# --- Asynchronous ---


@pytest.mark.topology
@pytest.mark.django_db(transaction=True)
async def test_works_inside_an_asynchronous_chain(make_policy, async_redis, alice):
    await sync_to_async(make_policy)("people", limit="2/min", tier=Policy.Tier.AUTHENTICATED, identity="user")

    async def answer(request):
        return HttpResponse("fine")

    middleware = RateLimitMiddleware(answer)
    assert iscoroutinefunction(middleware)

    def request():
        made = RequestFactory(REMOTE_ADDR=FIRST).get("/")
        made.COOKIES["sessionid"] = "some"
        made.session = SessionBase("some")
        made.session._session_cache = {SESSION_KEY: str(alice.pk)}
        return made

    answers = [await middleware(request()) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0]["RateLimit"].startswith('"people";r=1')


# --- Views ---


def test_a_view_is_limited_by_name_and_cost(make_policy):
    make_policy("search", subject="named", limit="5/min", **FIXED)
    make_policy("requests", limit="9/min", **FIXED)

    @limit("search", cost=2)
    def search(request):
        return HttpResponse("found")

    visit = Visit(search)
    answers = [visit() for _ in range(2)]
    assert answers[1]["RateLimit-Policy"] == '"requests";q=9;w=60, "search";q=5;w=60'
    assert answers[1]["RateLimit"].split(";t=")[1].endswith('"search";r=1')


def test_a_view_over_its_limit_is_answered_by_the_middleware(client, alice, browser_of, make_policy, settings):
    make_policy("search", subject="named", limit="1/min", **FIXED)
    settings.ROOT_URLCONF = "tests.limited_urls"
    browser_of(alice)
    answers = [client.get("/search") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert json.loads(answers[1].content)["violated-policies"] == ["search"]
    again = client.get("/elsewhere")
    assert again.status_code == 429


@pytest.mark.topology
@pytest.mark.django_db(transaction=True)
async def test_an_asynchronous_view_is_limited_too(make_policy, async_redis):
    await sync_to_async(make_policy)("search", subject="named", limit="1/min")

    @limit("search")
    async def search(request):
        await aenforce("nobody-limits-this", request)
        return HttpResponse("found")

    request = RequestFactory(REMOTE_ADDR=FIRST).get("/")
    assert (await search(request)).status_code == 200
    with pytest.raises(Exception, match="search"):
        await search(request)


def test_a_name_without_a_policy_admits(make_policy):
    make_policy("other")
    assert enforce("search", RequestFactory().get("/")).admitted


# --- Redis is away ---


def outage_of(visit, caplog, stop, back, meanwhile):
    """What holds in every outage: quick answers, one line in the log, and enforcement again by itself."""
    statuses(visit, 3)
    caplog.set_level(logging.INFO)
    stop()
    began = time.monotonic()
    assert statuses(visit, 200, SECOND) == [meanwhile] * 200
    assert time.monotonic() - began < 1.5, "200 requests in an outage cost more than a few timeouts"
    back()
    deadline = time.monotonic() + 10
    while not [record for record in caplog.records if "answers again" in record.message]:
        assert time.monotonic() < deadline
        visit("203.0.113.1")
    lines = [record.levelname for record in caplog.records if record.message.startswith("Rate limits:")]
    assert lines == ["ERROR", "INFO"]


@pytest.mark.parametrize(("without", "meanwhile"), [("open", 200), ("closed", 503)])
def test_a_killed_redis_leaves_it_to_the_policy(visit, make_policy, caplog, redis_server, without, meanwhile):
    make_policy(limit="100/min", without_redis=without)
    outage_of(visit, caplog, redis_server.kill, redis_server.start, meanwhile)


def test_a_paused_redis_costs_a_request_50_ms_a_second(hurried, visit, make_policy, caplog, redis_server):
    make_policy(limit="100/min")
    try:
        outage_of(visit, caplog, redis_server.pause, redis_server.resume, 200)
    finally:
        redis_server.resume()


def test_who_cannot_be_decided_is_told_to_come_back_soon(visit, make_policy, redis_server):
    make_policy(limit="100/min", without_redis="closed")
    visit()
    redis_server.kill()
    response = visit()
    assert response.status_code == 503
    assert response["Retry-After"] == "1"
    assert json.loads(response.content)["type"].endswith("#temporary-reduced-capacity")


def test_what_passed_unchecked_is_counted(visit, make_policy, redis_server):
    policy = make_policy(limit="100/min")
    visit()
    before = counted(policy, "open"), counted("all", "open")
    redis_server.kill()
    statuses(visit, 4)
    redis_server.start()
    assert (counted(policy, "open") - before[0], counted("all", "open") - before[1]) == (4, 4)


def test_what_timed_out_is_not_charged_twice(hurried, make_policy, visit, redis_server):
    policy = make_policy(limit="5/min", **FIXED)
    visit()
    try:
        redis_server.pause()
        visit()
    finally:
        redis_server.resume()
    left = keys.limit(policy.rule.state, named("address", FIRST).hashed)
    deadline = time.monotonic() + 5
    while redis_client(Role.STATE).get(left) is None:
        assert time.monotonic() < deadline
    from ratelimit.limiter import Charge, limiter

    limiter.breaker.succeeded()
    said = limiter.peek([Charge(policy.rule, named("address", FIRST).hashed)])
    assert said is not None
    assert said.decisions[0].remaining == 3
