"""The first rule against a real server: exact, honest about when to come back, and out of the way when Redis is."""

import logging
import subprocess
import sys
import time

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from intellicolab.redis import keys
from intellicolab.redis.breaker import Breaker
from intellicolab.redis.client import Role
from intellicolab.redis.client import client as redis_client
from intellicolab.redis.counters import counters, totals
from ratelimit.identity import address_identity
from ratelimit.limiter import Limiter
from ratelimit.middleware import RateLimitMiddleware
from ratelimit.rules import Decision, Rule

pytestmark = pytest.mark.topology

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
FIRST = "198.51.100.7"
SECOND = "198.51.100.8"


@pytest.fixture
def visit(settings):
    """The middleware before a site that answers at once; call it with an address to make a request from there."""
    settings.RATELIMIT_REQUESTS = 3
    middleware = RateLimitMiddleware(lambda request: HttpResponse("fine"))

    def request(address=FIRST, path="/", **headers):
        return middleware(RequestFactory(REMOTE_ADDR=address).get(path, headers=headers))

    return request


def statuses(visit, times, *args, **kwargs):
    return [visit(*args, **kwargs).status_code for _ in range(times)]


def wait_for(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)
    return True


def counted(field):
    """A total; the counters' own thread may be writing what is missing from it."""
    counters.flush()
    return totals("limit").get(field, 0)


def key_of(address=FIRST):
    return keys.limit("address", address_identity(address))


# --- Counting ---


def test_admits_the_limit_and_refuses_the_next(visit):
    assert statuses(visit, 5) == [200, 200, 200, 429, 429]


def test_two_addresses_do_not_share_a_limit(visit):
    assert statuses(visit, 4, FIRST) == [200, 200, 200, 429]
    assert statuses(visit, 4, SECOND) == [200, 200, 200, 429]


def test_addresses_of_one_ipv6_network_share_a_limit(visit):
    assert statuses(visit, 3, "2001:db8:1:2::1") == [200] * 3
    assert visit("2001:db8:1:2:ffff::9").status_code == 429
    assert visit("2001:db8:1:3::1").status_code == 200


@pytest.mark.parametrize(
    "address", ["", "not an address", "unix:", "::ffff:999.1.1.1", "a{b}:c\r\nd*", "ü", "1" * 5000]
)
def test_garbage_for_an_address_is_limited_like_any_other(visit, address):
    assert statuses(visit, 4, address) == [200, 200, 200, 429]


def test_the_header_that_anyone_can_write_is_not_an_address(visit):
    forged = [visit(**{"X-Forwarded-For": f"203.0.113.{n}"}).status_code for n in range(4)]
    assert forged == [200, 200, 200, 429]


def test_exactly_a_hundred_of_many_at_once_are_admitted():
    """Four processes, three threads each, 50 requests a thread: 600 at the same moment."""
    code = """
import threading
from intellicolab.redis import client
from ratelimit.limiter import Limiter
from ratelimit.rules import Rule
client.READ_TIMEOUT[client.Purpose.FAST] = 20  # a crowded machine may be slow; the count is what is tested
limiter, rule, admitted = Limiter(), Rule("address", 100), []
def ask():
    admitted.extend(limiter.check(rule, "crowd").allowed for _ in range(50))
threads = [threading.Thread(target=ask) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(admitted), sum(admitted))
"""
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [child.communicate(timeout=60)[0].split() for child in children]
    assert [asked for asked, _ in answers] == ["150"] * 4
    assert sum(int(admitted) for _, admitted in answers) == 100


def test_no_address_is_kept_in_clear(visit):
    visit(FIRST)
    stored = list(redis_client(Role.STATE).scan_iter())
    assert [key for key in stored if b"limit" in key] == [key_of(FIRST).encode()]
    assert not any(FIRST.encode() in key for key in stored)


def test_the_identity_depends_on_the_secret_key(settings):
    before = address_identity(FIRST)
    settings.SECRET_KEY = "another key"
    assert address_identity(FIRST) != before


def test_health_checks_are_not_counted(visit):
    assert statuses(visit, 9, path="/healthz") == [200] * 9
    assert statuses(visit, 9, path="/readyz") == [200] * 9
    assert visit().status_code == 200
    assert visit(path="/healthz/elsewhere").status_code == 200
    assert statuses(visit, 2, path="/healthzz") == [200, 429]


def test_zero_switches_the_rule_off(visit, settings):
    settings.RATELIMIT_REQUESTS = 0
    assert statuses(visit, 9) == [200] * 9
    assert redis_client(Role.STATE).exists(key_of()) == 0


def test_a_lowered_limit_counts_at_once(visit, settings):
    assert statuses(visit, 3) == [200] * 3
    settings.RATELIMIT_REQUESTS = 2
    assert visit().status_code == 429


class Anyone(HttpRequest):
    """A request whose user must not be asked for: a lazy one would cost a query."""

    @property
    def user(self):
        pytest.fail("the middleware read request.user")


def test_the_user_is_never_read(settings):
    settings.RATELIMIT_REQUESTS = 1
    request = Anyone()
    request.META = {"REMOTE_ADDR": FIRST, "HTTP_ACCEPT": BROWSER}
    middleware = RateLimitMiddleware(lambda request: HttpResponse())
    assert [middleware(request).status_code for _ in range(2)] == [200, 429]


async def test_works_inside_an_asynchronous_chain(settings, async_redis):
    settings.RATELIMIT_REQUESTS = 2

    async def answer(request):
        return HttpResponse("fine")

    middleware = RateLimitMiddleware(answer)
    requests = [RequestFactory(REMOTE_ADDR=FIRST).get("/") for _ in range(3)]
    assert [(await middleware(request)).status_code for request in requests] == [200, 200, 429]


def test_counts_for_the_dashboard(visit):
    allowed, refused = counted("allowed"), counted("refused")
    statuses(visit, 5)
    assert wait_for(lambda: (counted("allowed") - allowed, counted("refused") - refused) == (3, 2))


# --- Time ---


def test_the_key_ends_with_its_window(visit):
    visit()
    assert 0 < redis_client(Role.STATE).pttl(key_of()) <= 60_000


def test_a_refusal_does_not_prolong_the_window(visit):
    statuses(visit, 3)
    redis_client(Role.STATE).pexpire(key_of(), 5_000)
    assert visit().headers["Retry-After"] == "5"
    assert redis_client(Role.STATE).pttl(key_of()) <= 5_000


def test_a_counter_that_lost_its_end_gets_a_new_one(visit):
    statuses(visit, 4)
    redis_client(Role.STATE).persist(key_of())
    assert visit().status_code == 200
    assert 0 < redis_client(Role.STATE).pttl(key_of()) <= 60_000


def test_after_the_time_told_a_request_passes_and_not_before():
    limiter, rule = Limiter(), Rule("brief", limit=2, window_ms=400)

    def ask():
        decision = limiter.check(rule, "alice")
        assert decision is not None, "no answer from Redis"
        return decision

    decisions = [ask() for _ in range(3)]
    told = time.monotonic() + decisions[-1].reset_ms / 1000
    assert [decision.allowed for decision in decisions] == [True, True, False]
    assert [decision.remaining for decision in decisions] == [1, 0, 0]
    wait_for(lambda: ask().allowed)
    late = time.monotonic() - told
    assert -0.05 < late < 0.5


@pytest.mark.parametrize(("reset_ms", "seconds"), [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (59_001, 60)])
def test_retry_after_is_whole_seconds_rounded_up(reset_ms, seconds):
    assert Decision(False, 0, reset_ms).retry_after == seconds


def test_script_flush_is_survived(visit):
    assert statuses(visit, 2) == [200, 200]
    redis_client(Role.STATE).script_flush()
    assert statuses(visit, 2) == [200, 429]


# --- The refusal ---


@pytest.mark.parametrize("accept", ["application/json", "*/*", "application/json, text/html;q=0.5"])
def test_programs_are_refused_in_json(visit, accept):
    statuses(visit, 3)
    response = visit(Accept=accept)
    seconds = int(response.headers["Retry-After"])
    assert response.headers["Content-Type"] == "application/json"
    assert response.content == b'{"error": "Too many requests", "retryAfter": %d}' % seconds
    assert 58 <= seconds <= 60


def test_browsers_are_refused_with_a_page_that_says_when_to_come_back(visit):
    statuses(visit, 3)
    response = visit(Accept=BROWSER)
    assert response.status_code == 429
    assert response.headers["Content-Type"].startswith("text/html")
    assert f"<strong>{response.headers['Retry-After']}</strong> second" in response.content.decode()


def test_on_the_site_a_refusal_is_a_page_under_the_strict_policy(client, db, settings):
    settings.RATELIMIT_REQUESTS = 2
    responses = [client.get("/accounts/login/", headers={"Accept": BROWSER}) for _ in range(3)]
    assert [response.status_code for response in responses][-1] == 429
    html = responses[-1].content.decode()
    assert "A moment, please" in html
    assert "style=" not in html
    assert "default-src 'self'" in responses[-1].headers["Content-Security-Policy"]
    assert responses[-1].cookies == {}


def test_a_flood_does_not_fill_the_log(client, db, settings, caplog):
    settings.RATELIMIT_REQUESTS = 1
    client.get("/accounts/login/")
    assert client.get("/accounts/login/").status_code == 429
    assert [record for record in caplog.records if record.name == "django.request"] == []


def test_on_the_site_health_checks_are_not_limited(client, db, settings):
    settings.RATELIMIT_REQUESTS = 1
    assert [client.get("/healthz").status_code for _ in range(3)] == [200] * 3


def test_a_refusal_is_not_cached(visit):
    statuses(visit, 3)
    response = visit()
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Vary"] == "Accept"


# --- Redis is away ---


def outage_of(visit, caplog, stop, back):
    """What holds in every outage: quick answers, one line in the log, and enforcement again by itself."""
    statuses(visit, 3)
    counters.flush()
    stop()
    start = time.monotonic()
    assert statuses(visit, 200) == [200] * 200
    assert time.monotonic() - start < 1.5, "200 requests in an outage cost more than a few timeouts"
    back()
    wait_for(lambda: [record for record in caplog.records if "answers again" in record.message] or not visit())
    lines = [record.levelname for record in caplog.records if record.message.startswith("Rate limits:")]
    assert lines == ["ERROR", "INFO"]


def test_a_killed_redis_lets_requests_pass_and_is_found_again(visit, caplog, redis_server):
    caplog.set_level(logging.INFO, "ratelimit")
    outage_of(visit, caplog, redis_server.kill, redis_server.start)
    assert wait_for(lambda: visit().status_code == 429)


def test_a_paused_redis_lets_requests_pass_and_is_found_again(visit, caplog, redis_server):
    caplog.set_level(logging.INFO, "ratelimit")
    try:
        outage_of(visit, caplog, redis_server.pause, redis_server.resume)
    finally:
        redis_server.resume()
    assert wait_for(lambda: visit().status_code == 429)


def test_what_passed_unchecked_is_counted(visit, redis_server):
    before = counted("failed_open")
    redis_server.kill()
    statuses(visit, 4)
    redis_server.start()
    assert wait_for(lambda: counted("failed_open") - before == 4)


def test_an_open_breaker_lets_one_caller_try_in_each_pause():
    breaker = Breaker("test", "nothing happens", pause=0.05)
    breaker.failed(OSError("gone"))
    assert not breaker.ready()
    wait_for(breaker.ready)
    assert not breaker.ready()
    breaker.succeeded()
    assert breaker.ready()
    assert breaker.ready()
