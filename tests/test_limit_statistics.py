"""Counts by policy, offenders, the signal of repeated refusals, and what a policy would have done."""

import time

import pytest

from intellicolab.redis import keys
from intellicolab.redis.client import Role
from intellicolab.redis.client import client as redis_client
from intellicolab.redis.counters import counters, hour, minute
from ratelimit import gate, offenders, statistics, traffic
from ratelimit.book import book
from ratelimit.caller import Caller, Member
from ratelimit.identity import named
from ratelimit.matching import Occasion
from ratelimit.models import Policy
from ratelimit.offenders import Offender
from ratelimit.preview import NotPredictable, preview
from ratelimit.rules import Algorithm
from ratelimit.shield import sender_of
from ratelimit.signals import refused_repeatedly
from ratelimit.traffic import Hour, Record, Traffic, last_hour

from .limits import FIRST, SECOND, Visit, counted, look_again, statuses

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_waits():
    """What other tests have done in this process is not what these look at."""
    counters.flush()
    redis_client(Role.STATE).flushdb()


@pytest.fixture
def visit():
    return Visit()


@pytest.mark.topology
def test_decisions_are_counted_by_policy_minute_and_hour(visit, make_policy):
    policy = make_policy(limit="2/min")
    statuses(visit, 5)
    now = time.time()
    assert (counted(policy, "allowed"), counted(policy, "refused"), counted(policy, "remembered")) == (2, 3, 2)
    for found in (minute(statistics.FAMILY, int(now // 60)), hour(statistics.FAMILY, int(now // 3600))):
        assert statistics.by_name(found)[str(policy.pk)]["refused"] in (3, 0)  # a minute may have ended meanwhile
    assert counted("all", "refused") == 3


def test_only_the_policies_that_refuse_count_a_refusal(visit, make_policy):
    narrow, wide = make_policy("narrow", limit="1/min"), make_policy("wide", limit="9/min")
    statuses(visit, 3)
    assert (counted(narrow, "refused"), counted(wide, "refused"), counted(wide, "allowed")) == (2, 0, 1)


@pytest.mark.topology
def test_the_list_of_offenders_is_readable_for_an_hour(visit, make_policy):
    policy = make_policy(limit="1/min")
    statuses(visit, 4, FIRST, "/a")
    statuses(visit, 3, SECOND, "/b")
    counters.flush()
    assert offenders.top() == [
        Offender(str(policy.pk), "address", FIRST, 3),
        Offender(str(policy.pk), "address", SECOND, 2),
    ]
    assert offenders.top_places() == [("GET /a", 3), ("GET /b", 2)]
    name = keys.offender_name(named("address", FIRST).hashed)
    assert 3590 < redis_client(Role.STATE).ttl(name) <= 3600
    redis_client(Role.STATE).delete(name)
    assert offenders.top()[0] == Offender(str(policy.pk), "address", "", 3)


def test_of_a_secret_only_the_beginning_is_shown(make_policy, visit):
    make_policy(limit="1/min", identity="api_key")
    statuses(visit, 2, X_API_Key="secret-of-alice")
    counters.flush()
    assert offenders.top()[0].who == "secr…"
    for key in redis_client(Role.STATE).scan_iter():
        assert b"secret-of-alice" not in key


def test_the_key_of_a_mailed_link_is_kept_nowhere(make_policy, visit):
    make_policy(limit="1/min", path="/invite/*/")
    key = "l7I7bIYh91wHKiaYvagUl5Cuhzde3wId"
    statuses(visit, 2, path=f"/invite/{key}/")
    counters.flush()
    assert offenders.top_places() == [("GET /invite/…/", 1)]
    assert [record.occasion.path for record in last_hour().records] == ["/invite/…/"] * 2
    assert preview(row(path="/invite/*/", limit="1/min")).refusals == 1


def test_what_is_kept_of_a_request_is_bounded():
    kept = Occasion("request", "/" + "a/" * 5000, "M" * 12_000).without_secrets()
    assert len(kept.path) == 200
    assert len(kept.method) == 20


def test_a_policy_for_a_route_finds_it_though_its_key_is_not_kept(make_policy, visit):
    make_policy(limit="9/min")
    statuses(visit, 3, path="/accounts/password/reset/key/3-d2f1a9c7b5e3d2f1a9c7b5e3d2f1a9c7/")
    counters.flush()
    assert preview(row(route="account_reset_password_from_key")).concerned == 3


def test_who_the_shield_refuses_is_who_was_counted(make_policy, alice):
    policy = make_policy(identity="user", limit="1/hour", tier="everyone")
    live = book.policies()
    [asked] = live.asked(Occasion("request", "/", "GET"), Member(alice.pk, FIRST))
    live.remember_sender(asked.policy, asked.identity, Member(alice.pk, FIRST, "cookie"), time.monotonic() + 60)
    scope = {
        "type": "http",
        "path": "/",
        "method": "GET",
        "headers": [(b"cookie", b"sessionid=cookie")],
        "client": (FIRST, 1),
    }
    [(refusing, identity, _)] = live.refusing(Occasion("request", "/", "GET"), sender_of(scope, live, FIRST))
    assert identity == named("user", str(alice.pk))
    assert refusing.rule.name == str(policy.pk)


@pytest.mark.topology
def test_the_lists_are_bounded(monkeypatch, make_policy):
    policy = make_policy()
    monkeypatch.setattr(offenders, "MOST_KEPT", 3)
    for number in range(6):
        for _ in range(number + 1):
            offenders.offenders.note(
                str(policy.pk), named("user", str(number)), Occasion("request", f"/{number}", "GET")
            )
    counters.flush()
    assert [each.who for each in offenders.top()] == ["5", "4", "3"]
    assert [place for place, _ in offenders.top_places()] == ["GET /5", "GET /4", "GET /3"]


@pytest.mark.topology
def test_repeated_refusals_are_told_once(make_policy, visit, settings):
    settings.RATELIMIT_REPEATED = 5
    policy = make_policy(limit="1/min")
    told = []

    def receive(sender, **kwargs):
        told.append(kwargs)

    refused_repeatedly.connect(receive)
    try:
        for times in (4, 3, 5):
            statuses(visit, times)
            counters.flush()
    finally:
        refused_repeatedly.disconnect(receive)
    [found] = told
    assert (found["policy_id"], found["identity"].name) == (policy.pk, FIRST)
    assert found["refusals"] >= 5


def test_who_flushes_inside_a_transaction_keeps_the_connection(make_policy, visit, settings):
    settings.RATELIMIT_REPEATED = 1
    make_policy(limit="1/min")
    statuses(visit, 2)
    counters.flush()
    assert Policy.objects.count() == 1


def test_a_receiver_that_fails_is_logged_and_costs_nothing(make_policy, visit, settings, caplog):
    settings.RATELIMIT_REPEATED = 1

    def fail(sender, **kwargs):
        raise ValueError("broken")

    make_policy(limit="1/min")
    refused_repeatedly.connect(fail)
    try:
        statuses(visit, 2)
        counters.flush()
    finally:
        refused_repeatedly.disconnect(fail)
    assert "failed on a repeated refusal" in caplog.text
    assert offenders.top()[0].refusals == 1


# --- The record of the last hour ---


@pytest.mark.topology
def test_the_last_hour_is_recorded_without_names(make_policy, visit, alice):
    make_policy(tier="anonymous")
    visit(FIRST, "/a", "POST")
    visit("2001:db8::1", "/b")
    counters.flush()
    hour_ = last_hour()
    assert [(record.occasion, record.kind) for record in hour_.records] == [
        (Occasion("request", "/a", "POST"), "anonymous"),
        (Occasion("request", "/b", "GET"), "anonymous"),
    ]
    assert hour_.records[0].identities == {"address": named("address", FIRST).hashed}
    assert hour_.records[1].identities == {"address": named("address", "2001:db8::/64").hashed}
    assert (hour_.of, hour_.cut) == (1, 0)
    assert 0 < redis_client(Role.STATE).ttl(keys.traffic()) <= keys.TRAFFIC_TTL


def test_a_very_long_key_is_recorded_as_it_is_counted(make_policy):
    make_policy(identity="api_key", limit="1/min", algorithm=1)
    policies, caller = book.policies(), Caller(FIRST, api_key="k" * 8000)
    [asked] = policies.asked(Occasion("request", "/"), caller)
    gate.decide(Occasion("request", "/"), caller)
    counters.flush()
    [record] = last_hour().records
    assert record.identities["api_key"] == asked.identity.hashed


def test_a_person_s_tier_is_recorded_as_far_as_a_policy_asked_for_it(make_policy, alice):
    make_policy(subject="frame", tier="staff")
    make_policy("tried-too", subject="frame", tier="everyone", identity="user")
    gate.decide(Occasion("frame", frame="typing"), Member(alice.pk, FIRST))
    counters.flush()
    [record] = last_hour().records
    assert (record.kind, record.place) == ("authenticated", "typing")
    assert record.identities["user"] == named("user", str(alice.pk)).hashed


def test_a_crowd_makes_the_sample_smaller_and_keeps_each_person_whole(monkeypatch):
    monkeypatch.setattr(traffic, "MOST", 40)
    sample = Traffic()
    counters._parts.remove(sample)
    for _ in range(3):
        for number in range(400):
            sample.note(Occasion("request", "/", "GET"), Caller(f"192.0.2.{number % 20}"), 1)
        sample.flush()
    found = last_hour()
    assert found.of == 8
    assert found.cut == 3
    kept = {record.identities["address"] for record in found.records}
    assert 0 < len(kept) < 20


def test_a_calm_minute_makes_the_sample_larger(monkeypatch):
    monkeypatch.setattr(traffic, "CALM", 2)
    sample = Traffic()
    counters._parts.remove(sample)
    sample._mask = 3
    for _ in range(4):
        sample._adapt(1, cut=False)
    assert sample._mask == 0


# --- Preview ---


def record(at, path="/", kind="anonymous", address="a", user="", groups=(), cost=1):
    identities = {"address": address, **({"user": user} if user else {})}
    return Record(1_800_000_000 + at, Occasion("request", path, "GET"), cost, kind, tuple(groups), identities)


def row(**fields):
    return Policy(
        **{"name": "tried", "identity": "address", "limit": "2/min", "algorithm": Algorithm.FIXED_WINDOW, **fields}
    )


def test_a_preview_tells_what_would_have_been_refused():
    hour_ = Hour([record(at, address=who) for at in (0, 1, 2, 59, 61) for who in ("a", "b")])
    found = preview(row(path="/"), hour_)
    assert (found.concerned, found.admitted, found.refusals) == (10, 6, 4)
    assert (found.identities, found.limited, found.minutes) == (2, 2, 2)
    assert found.refused == {"GET /": 4}


def test_a_preview_asks_tier_path_and_identity_as_a_live_policy_does():
    hour_ = Hour(
        [
            record(0, "/a", "authenticated", user="u"),
            record(1, "/a", "authenticated", user="u", address="b"),
            record(2, "/a", "authenticated", user="u", address="c"),
            record(3, "/b", "authenticated", user="u"),
            record(4, "/a", "anonymous"),
        ]
    )
    found = preview(row(path="/a", tier="authenticated", identity="user_or_address", limit="2/min"), hour_)
    assert (found.concerned, found.refusals) == (3, 1)
    assert preview(row(identity="api_key"), hour_).concerned == 0
    assert preview(row(subject="frame"), hour_).concerned == 0


@pytest.mark.topology
@pytest.mark.parametrize("algorithm", [each for each in Algorithm if each is not Algorithm.CONCURRENCY])
def test_a_preview_of_real_traffic_is_what_the_policy_does(visit, make_policy, algorithm):
    policy = make_policy(limit="3/min", algorithm=algorithm, mode="shadow")
    statuses(visit, 7)
    counters.flush()
    found = preview(policy)
    assert found.admitted == counted(policy, "allowed")
    assert found.refusals == counted(policy, "shadow")


def test_what_is_held_at_the_same_time_cannot_be_foretold():
    with pytest.raises(NotPredictable):
        preview(row(subject="connect", algorithm=Algorithm.CONCURRENCY, limit="2"), Hour([]))


def test_a_preview_of_nothing_is_nothing():
    found = preview(row(), Hour([]))
    assert (found.records, found.concerned, found.minutes) == (0, 0, 0)


@pytest.mark.topology
def test_statistics_outlive_a_change_of_the_name(visit, make_policy):
    policy = make_policy("before", limit="9/min")
    visit()
    policy.name = "after"
    policy.save()
    look_again()
    visit()
    assert counted(policy, "allowed") == 2
