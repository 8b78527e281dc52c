"""What is refused before Django is entered: only what was refused to the same sender, and no longer."""

import json
import time

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.test import RequestFactory

from intellicolab.asgi import security_headers
from ratelimit import policies as policies_module
from ratelimit.book import book
from ratelimit.caller import Member, Visitor
from ratelimit.gate import decide
from ratelimit.matching import CONNECT, Occasion
from ratelimit.memory import Refusals
from ratelimit.models import Exemption, Policy
from ratelimit.shield import Shield
from tests.test_http import Exchange

from .limits import BROWSER, FIRST, SECOND, Visit, counted, look_again, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


async def inside(scope, receive, send):
    """The site behind the shield."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.content", "body": b""})


shield = Shield(inside, security_headers)


@pytest.fixture(autouse=True)
def late_looks(monkeypatch):
    """On a loaded machine a look at the policies may take longer than what is known of them is believed."""
    monkeypatch.setattr("ratelimit.book.OLDEST_SECONDS", 60.0)


async def ask(address=FIRST, path="/", cookie="", **options):
    headers = [(b"cookie", cookie.encode())] if cookie else []
    headers += [(name.encode(), value.encode()) for name, value in options.pop("headers", {}).items()]
    return await Exchange(shield, path, headers=headers, client=(address, 4000), **options).end_body().run()


def refuse(times=2, address=FIRST, path="/", cookie=None):
    """Requests that reach the middleware."""
    visit = Visit()
    session = None
    if cookie:
        session = SessionBase(cookie)
        session._session_cache = {}
    return [visit(address, path, session=session).status_code for _ in range(times)]


def counts(policy):
    return counted(policy, "remembered"), counted(policy, "refused")


async def status(*args, **kwargs):
    return (await ask(*args, **kwargs)).status


@pytest.mark.topology
async def test_who_was_refused_a_moment_ago_does_not_reach_django(make_policy):
    policy = await sync_to_async(make_policy)("tight", limit="1/min", algorithm=1)
    before = await sync_to_async(counts)(policy)
    assert await status() == 204
    assert await sync_to_async(refuse)() == [200, 429]
    answer = await ask()
    assert answer.status == 429
    fields = dict(answer.headers)
    assert json.loads(answer.content)["violated-policies"] == ["tight"]
    assert 58 <= int(fields["retry-after"]) <= 60
    assert fields["ratelimit-policy"] == '"tight";q=1;w=60'
    assert fields["content-length"] == str(len(answer.content))
    assert "default-src 'self'" in fields["content-security-policy"]
    assert fields["x-content-type-options"] == "nosniff"
    assert await status(SECOND) == 204
    after = await sync_to_async(counts)(policy)
    assert (after[0] - before[0], after[1] - before[1]) == (1, 2)


async def test_only_what_the_policy_matches_is_refused(make_policy):
    await sync_to_async(make_policy)(limit="1/min", path="/tight/**")
    await sync_to_async(refuse)(path="/tight/x")
    assert await status(path="/tight/y") == 429
    assert await status(path="/loose") == 204
    assert await status(path="/healthz") == 204


async def test_a_policy_for_visitors_does_not_refuse_who_signs_in_at_the_same_address(make_policy):
    await sync_to_async(make_policy)(limit="1/min", tier=Policy.Tier.ANONYMOUS)
    await sync_to_async(refuse)()
    assert await status() == 429
    assert await status(cookie="sessionid=somebody") == 204


async def test_a_policy_for_everyone_at_an_address_refuses_whatever_cookie_is_sent(make_policy):
    await sync_to_async(make_policy)(limit="1/min")
    await sync_to_async(refuse)()
    assert await status(cookie="sessionid=another") == 429


@pytest.mark.topology
async def test_a_session_is_not_believed_for_long(make_policy, monkeypatch):
    monkeypatch.setattr(policies_module, "SENDER_SECONDS", 0.2)
    await sync_to_async(make_policy)(limit="1/hour", tier=Policy.Tier.ANONYMOUS)
    await sync_to_async(refuse)(cookie="some")
    assert await status(cookie="sessionid=some") == 429
    deadline = time.monotonic() + 5
    while await status(cookie="sessionid=some") == 429:
        assert time.monotonic() < deadline
    assert await sync_to_async(refuse)(1, cookie="some") == [429]


async def test_a_made_up_api_key_makes_nobody_another_sender_unless_a_policy_counts_keys(make_policy):
    await sync_to_async(make_policy)(limit="1/min", tier=Policy.Tier.ANONYMOUS)
    await sync_to_async(refuse)()
    assert await status(headers={"x-api-key": "made up"}) == 429
    await sync_to_async(make_policy)("keys", identity="api_key")
    await sync_to_async(refuse)()
    assert await status() == 429
    assert await status(headers={"x-api-key": "made up"}) == 204


@pytest.mark.topology
async def test_a_denied_network_does_not_reach_django(make_policy, alice):
    await sync_to_async(make_policy)(limit="9/min")
    await sync_to_async(Exemption.objects.create)(treatment="deny", network="198.51.100.0/29")
    look_again()
    await sync_to_async(refuse)(1)
    answer = await ask()
    assert answer.status == 403
    assert json.loads(answer.content)["title"] == "Forbidden"
    assert await status(SECOND) == 204
    await sync_to_async(Exemption.objects.create)(treatment="allow", user=alice)
    look_again()
    await sync_to_async(refuse)(1)
    assert await status() == 204  # it may be Alice who comes from there


async def test_paths_are_those_that_django_has(make_policy):
    await sync_to_async(make_policy)(limit="1/min", path="/tight")
    await sync_to_async(refuse)(path="/tight")
    assert await status(path="/app/tight", root_path="/app") == 429
    await sync_to_async(make_policy)("all", limit="1/min")
    await sync_to_async(refuse)()
    assert await status(path="/app/healthz", root_path="/app") == 204


async def test_browsers_get_the_page_and_scripts_of_other_origins_the_fields(make_policy):
    await sync_to_async(make_policy)(limit="1/min")
    await sync_to_async(refuse)()
    answer = await ask(headers={"accept": BROWSER, "origin": "https://other.example"})
    assert b"data-seconds" in answer.content
    assert dict(answer.headers)["access-control-expose-headers"].startswith("RateLimit-Policy")


async def test_a_head_gets_no_body(make_policy):
    await sync_to_async(make_policy)(limit="1/min")
    await sync_to_async(refuse)()
    answer = await ask(method="HEAD")
    assert (answer.status, answer.content) == (429, b"")


async def test_what_was_not_looked_at_for_a_second_is_not_believed(make_policy):
    await sync_to_async(make_policy)(limit="1/hour")
    await sync_to_async(refuse)()
    assert await status() == 429
    look_again()
    assert await status() == 204


async def test_a_refusal_is_told_until_the_moment_it_ends(make_policy):
    await sync_to_async(make_policy)(limit="1/2 s", algorithm=1)
    began = time.monotonic()
    assert (await sync_to_async(refuse)())[-1] == 429
    while await status() == 429:
        assert time.monotonic() - began < 10
    assert time.monotonic() - began >= 1.99


async def test_a_flood_costs_redis_nothing(make_policy, redis_server):
    await sync_to_async(make_policy)(limit="1/hour")
    await sync_to_async(refuse)()
    redis_server.pause()
    try:
        book._looked = time.monotonic()
        assert [await status() for _ in range(50)] == [429] * 50
    finally:
        redis_server.resume()


def test_what_the_middleware_remembers_costs_redis_nothing_either(make_policy, redis_server):
    make_policy(limit="1/hour")
    refuse()
    redis_server.pause()
    try:
        book._looked = time.monotonic()
        began = time.monotonic()
        assert refuse(50) == [429] * 50
        assert time.monotonic() - began < 1.0
    finally:
        redis_server.resume()


def test_a_smaller_cost_than_the_one_refused_is_asked_for(make_policy):
    from ratelimit.limits import check

    make_policy("search", subject="named", limit="5/min", algorithm=1)
    request = RequestFactory(REMOTE_ADDR=FIRST).get("/")
    assert check("search", request, 3).admitted
    assert not check("search", request, 4).admitted
    assert check("search", request, 2).admitted


@pytest.mark.topology
def test_a_lease_that_is_given_back_is_free_at_once(make_policy):
    make_policy("places", subject="connect", identity="address", algorithm=5, limit="1")
    from ratelimit.limiter import limiter

    first = decide(Occasion(CONNECT), Member(None, FIRST), lease="one")
    assert first.admitted
    assert not decide(Occasion(CONNECT), Member(None, FIRST), lease="two").admitted
    limiter.refund([asked.charge for asked in first.asked])
    assert decide(Occasion(CONNECT), Member(None, FIRST), lease="two").admitted


@pytest.mark.topology
async def test_a_refused_socket_is_not_opened(make_policy):
    await sync_to_async(make_policy)(subject="connect", limit="1/min")

    def connect():
        return decide(Occasion(CONNECT, "/ws/"), Member(None, FIRST))

    assert (await sync_to_async(connect)()).admitted
    assert not (await sync_to_async(connect)()).admitted

    async def accept(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})

    opened = WebsocketCommunicator(Shield(accept), "/ws/")
    opened.scope["client"] = (SECOND, 1)
    assert (await opened.connect())[0]
    closed = WebsocketCommunicator(Shield(accept), "/ws/")
    closed.scope["client"] = (FIRST, 1)
    assert not (await closed.connect())[0]


async def test_a_refused_handshake_says_why_where_the_server_can(make_policy):
    await sync_to_async(make_policy)("doors", subject="connect", limit="1/min")
    await sync_to_async(lambda: [decide(Occasion(CONNECT, "/ws/"), Member(None, FIRST)) for _ in range(2)])()
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "websocket", "path": "/ws/", "headers": [], "client": (FIRST, 1),
        "extensions": {"websocket.http.response": {}},
    }  # fmt: skip
    await shield(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.http.response.start", "websocket.http.response.body"]
    assert sent[0]["status"] == 429
    assert json.loads(sent[1]["body"])["violated-policies"] == ["doors"]


def test_the_memory_is_bounded():
    memory = Refusals(most=3)
    for number in range(5):
        memory.add(number, None, time.monotonic() + 60)
    assert len(memory) == 3
    assert [memory.get(number) is not None for number in range(5)] == [False, False, True, True, True]


def test_what_is_remembered_ends_exactly_then():
    memory = Refusals()
    until = time.monotonic() + 0.05
    memory.add("who", 1, until)
    assert memory.get("who").what == 1
    wait_for(lambda: memory.get("who") is None)
    assert time.monotonic() >= until
    assert len(memory) == 0


def test_the_session_of_a_visitor_is_that_of_the_cookie(make_policy, alice):
    """Premise of what the shield remembers: the same address, cookie and key are the same caller."""
    request = RequestFactory(REMOTE_ADDR=FIRST).get("/")
    request.COOKIES["sessionid"] = "s"
    request.session = SessionBase("s")
    request.session._session_cache = {SESSION_KEY: str(alice.pk)}
    assert Visitor(request).user_id == alice.pk
