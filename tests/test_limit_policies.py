"""Whom and what policies concern, what is wrong with one, and that a change holds at once."""

import threading
import time
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import IntegrityError, OperationalError, transaction
from django.test import RequestFactory
from django.utils import timezone

from intellicolab.redis import keys
from intellicolab.redis.client import Role
from intellicolab.redis.client import client as redis_client
from ratelimit import gate, rates, services
from ratelimit.book import LOOK_SECONDS, book
from ratelimit.caller import Caller, Member, Visitor
from ratelimit.exemptions import Exemptions, Treatment
from ratelimit.identity import LONGEST, named, whom
from ratelimit.matching import Occasion, pattern
from ratelimit.models import Exemption, Policy
from ratelimit.rules import Algorithm

from .limits import FIRST, SECOND, Visit, counted, look_again, statuses, wait_for

pytestmark = pytest.mark.django_db

PAGE = Occasion("request", "/rooms/", "GET")


def told(occasion=PAGE, caller=None):
    """The names of the policies that apply."""
    return [asked.policy.name for asked in book.policies().asked(occasion, caller or Caller(FIRST))]


# --- Limits as people write them ---


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/min", (100, 60)),
        ("5/s", (5, 1)),
        (" 1000 / 15 Min ", (1000, 900)),
        ("1/hour", (1, 3600)),
        ("3/2days", (3, 172_800)),
    ],
)
def test_a_limit_is_read(text, rate):
    assert rates.parse(text) == rate


@pytest.mark.parametrize(
    "text", ["", "100", "100/", "/min", "0/min", "-1/s", "5/0 s", "1.5/s", "5/fortnight", "1/99 d", "²/s"]
)
def test_what_is_no_limit_is_said_so(text):
    with pytest.raises(ValueError, match=r"[Ww]rite|unit|must|longest"):
        rates.parse(text)


# --- Matching ---


@pytest.mark.parametrize(
    ("globs", "path", "matches"),
    [
        ("/rooms/*", "/rooms/7", True),
        ("/rooms/*", "/rooms/7/settings", False),
        ("/rooms/**", "/rooms/7/settings", True),
        ("/a /b", "/b", True),
        ("/a.c", "/abc", False),
        ("**.json", "/x/y.json", True),
        ("/x", "/x\n", False),
    ],
)
def test_paths_are_matched_whole(globs, path, matches):
    assert bool(pattern(globs.split()).fullmatch(path)) is matches


def test_policies_apply_by_path_method_and_route(make_policy):
    make_policy("all", order=1)
    make_policy("posts", order=2, methods="post PUT")
    make_policy("directory", order=3, route="directory")
    make_policy("elsewhere", order=4, path="/people/*")
    assert told() == ["all", "directory"]
    assert told(Occasion("request", "/people/3", "POST")) == ["all", "posts", "elsewhere"]
    assert told(Occasion("request", "/no/such/page", "PUT")) == ["all", "posts"]
    assert told(Occasion("frame", frame="typing")) == []


def test_frames_are_matched_by_type(make_policy):
    make_policy("every", subject="frame", order=1)
    make_policy("some", subject="frame", frames="typing unknown", order=2)
    assert told(Occasion("frame", frame="typing")) == ["every", "some"]
    assert told(Occasion("frame", frame="message.send")) == ["every"]


def test_policies_concern_tiers_and_groups(make_policy, alice, bob, charlie):
    group = Group.objects.create(name="guests")
    bob.groups.add(group)
    charlie.is_staff = True
    charlie.save()
    for tier in ("everyone", "anonymous", "authenticated", "staff"):
        make_policy(tier, tier=tier)
    make_policy("group", tier="group", group=group)
    assert told() == ["anonymous", "everyone"]
    assert told(caller=Member(alice.pk, FIRST)) == ["authenticated", "everyone"]
    assert told(caller=Member(bob.pk, FIRST)) == ["authenticated", "everyone", "group"]
    assert told(caller=Member(charlie.pk, FIRST)) == ["everyone", "staff"]
    assert told(caller=Member(10**6, FIRST)) == ["anonymous", "everyone"]


def test_a_policy_without_anybody_to_count_for_does_not_apply(make_policy):
    make_policy("keys", identity="api_key")
    make_policy("sessions", identity="session")
    assert told() == []
    request = RequestFactory(REMOTE_ADDR=FIRST).get("/", headers={"X-API-Key": "k"})
    request.COOKIES["sessionid"] = "s"
    assert told(caller=Visitor(request)) == ["keys", "sessions"]


def test_a_person_counts_as_one_from_every_address(make_policy, alice):
    everywhere = [whom("user_or_address", Member(alice.pk, address)) for address in (FIRST, SECOND)]
    assert everywhere[0] == everywhere[1]
    assert whom("user_or_address", Caller(FIRST)) == ("address", FIRST)


def test_a_key_as_long_as_a_header_is_not_what_the_memory_keeps_thousands_of(make_policy):
    make_policy("keys", identity="api_key", limit="1/min")
    first, second = (Caller(FIRST, "s" * 8000 + end, "k" * 8000 + end) for end in "12")
    ((_, name), (_, other)) = (whom("api_key", caller) for caller in (first, second))
    assert len(name) <= LONGEST
    assert name != other
    policies = book.policies()
    assert max(map(len, policies.sender(first.address, first.session, first.api_key))) <= LONGEST
    admitted = [gate.decide(PAGE, caller).admitted for caller in (first, second, first)]
    assert admitted == [True, True, False]


def test_the_same_name_of_another_kind_is_somebody_else():
    assert named("user", "7").hashed != named("api_key", "7").hashed


# --- What is wrong ---


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"limit": "many"}, "limit"),
        ({"limit": "100/min", "algorithm": Algorithm.CONCURRENCY, "subject": "connect"}, "limit"),
        ({"limit": "999999999999/31 days", "algorithm": Algorithm.TOKEN_BUCKET}, "limit"),
        ({"burst": 5}, "burst"),
        ({"burst": 0, "algorithm": Algorithm.GCRA}, "burst"),
        ({"cost": 0}, "cost"),
        ({"cost": 4}, "cost"),
        ({"cost": 2, "limit": "9", "algorithm": Algorithm.CONCURRENCY, "subject": "connect"}, "cost"),
        ({"algorithm": Algorithm.CONCURRENCY, "limit": "5"}, "algorithm"),
        ({"frames": "typing"}, "frames"),
        ({"frames": "Typing!", "subject": "frame"}, "frames"),
        ({"path": "/x", "subject": "frame"}, "subject"),
        ({"methods": "FETCH"}, "methods"),
        ({"route": "no_such_route"}, "route"),
        ({"path": "rooms/"}, "path"),
        ({"path": "/**/x/**"}, "path"),
        ({"path": "/api/*-*"}, "path"),
        ({"algorithm": Algorithm.CONCURRENCY, "limit": "5", "subject": "named"}, "algorithm"),
        ({"limit": "900000000/31 days", "algorithm": Algorithm.SLIDING_WINDOW}, "limit"),
        ({"tier": "group"}, "group"),
        ({"tier": "anonymous", "identity": "user"}, "identity"),
        ({"identity": "given"}, "identity"),
        ({"name": "two words"}, "name"),
        ({"name": 'quo"ted'}, "name"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_with_its_field(fields, field):
    row = Policy(**{"name": "tried", "limit": "3/min", "algorithm": Algorithm.FIXED_WINDOW, **fields})
    with pytest.raises(ValidationError) as caught:
        row.full_clean()
    assert list(caught.value.message_dict) == [field]
    assert all(text.endswith(".") for text in caught.value.message_dict[field])


def test_the_policies_of_a_new_installation_are_valid():
    from ratelimit.migrations import _defaults

    for fields in _defaults.POLICIES:
        Policy(**{"mode": "enforce", **fields}).full_clean(validate_unique=False)


def test_a_policy_that_makes_no_rule_is_left_out_and_said_so(make_policy, caplog):
    make_policy("good")
    bad = make_policy("bad")
    Policy.objects.filter(pk=bad.pk).update(limit="nonsense")
    look_again()
    assert told() == ["good"]
    assert "bad is left out" in caplog.text


# --- Changes ---


@pytest.mark.django_db(transaction=True)
def test_a_change_is_live_within_a_second_and_empties_what_is_remembered(make_policy):
    visit = Visit()
    policy = make_policy(limit="1/hour")
    assert statuses(visit, 2) == [200, 429]
    book._looked = time.monotonic()  # as another process, which has looked just now and hears of nothing
    Policy.objects.filter(pk=policy.pk).update(limit="9/hour")
    redis_client(Role.STATE).set(keys.limits_stamp(), "another")
    began = time.monotonic()
    wait_for(lambda: visit().status_code == 200)
    assert time.monotonic() - began < 1.0


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_rolled_back_is_not_told(make_policy):
    policy = make_policy()
    told()
    stamp = redis_client(Role.STATE).get(keys.limits_stamp())
    with transaction.atomic():
        policy.save()
        transaction.set_rollback(True)
    assert redis_client(Role.STATE).get(keys.limits_stamp()) == stamp
    policy.save()
    assert redis_client(Role.STATE).get(keys.limits_stamp()) != stamp


@pytest.mark.django_db(transaction=True)
def test_a_change_is_live_without_redis_too(make_policy, redis_server):
    visit = Visit()
    policy = make_policy(limit="9/hour", without_redis="open")
    assert visit().status_code == 200
    redis_server.kill()
    policy.without_redis = "closed"
    policy.save()
    wait_for(lambda: visit().status_code == 503, 1.0 + LOOK_SECONDS)


def test_while_nothing_changes_nobody_asks_the_database(make_policy, django_assert_num_queries):
    make_policy()
    told()
    with django_assert_num_queries(0):
        began = time.monotonic()
        while time.monotonic() - began < 2.5 * LOOK_SECONDS:
            told()
            time.sleep(0.01)


def test_a_database_that_fails_leaves_the_policies_as_they_were(make_policy, monkeypatch, caplog):
    make_policy()
    assert told() == ["tried"]
    look_again()

    def fail():
        raise OperationalError("gone")

    monkeypatch.setattr("ratelimit.book._from_rows", fail)
    assert told() == ["tried"]
    assert "those known so far hold" in caplog.text


def test_a_slow_database_does_not_make_requests_queue_for_the_policies(make_policy, monkeypatch):
    make_policy()
    assert told() == ["tried"]
    look_again()

    def fail():
        time.sleep(1.2)
        raise OperationalError("slow")

    monkeypatch.setattr("ratelimit.book._from_rows", fail)
    took = []

    def ask():
        began = time.monotonic()
        told()
        took.append(time.monotonic() - began)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(took)[-2] < 1.2, took  # who looks waits for the database, and nobody for more than a look
    assert max(took) < 2.4


@pytest.mark.django_db(transaction=True)
def test_a_renamed_group_is_still_concerned(make_policy, bob):
    group = Group.objects.create(name="guests")
    bob.groups.add(group)
    make_policy("group", tier="group", group=group)
    assert told(caller=Member(bob.pk, FIRST)) == ["group"]
    group.name = "visitors"
    group.save()
    wait_for(lambda: told(caller=Member(bob.pk, FIRST)) == ["group"])


@pytest.mark.django_db(transaction=True)
def test_many_policies_are_switched_at_once(make_policy):
    make_policy("first")
    make_policy("second")
    assert services.set_mode(Policy.objects.all(), Policy.Mode.OFF) == 2
    assert told() == []


# --- Modes ---


def test_shadow_refuses_nobody_and_counts_all(make_policy):
    policy = make_policy(limit="2/min", mode="shadow")
    before = [counted(policy, outcome) for outcome in ("allowed", "shadow", "refused")]
    visit = Visit()
    answers = [visit() for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert "RateLimit" not in answers[0]
    after = [counted(policy, outcome) for outcome in ("allowed", "shadow", "refused")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 3, 0]


def test_a_policy_that_is_off_is_not_asked(make_policy):
    make_policy(limit="1/min", mode="off")
    assert statuses(Visit(), 3) == [200] * 3


# --- Exemptions ---


def exempt(**fields):
    row = Exemption(**fields)
    row.full_clean()
    row.save()
    look_again()
    return row


def test_an_allowed_network_has_no_limit(make_policy):
    make_policy(limit="1/min")
    exempt(treatment="allow", network="198.51.100.0/29")
    assert statuses(Visit(), 3, FIRST) == [200] * 3
    assert statuses(Visit(), 2, SECOND) == [200, 429]


def test_a_denied_network_is_kept_out_with_words(make_policy):
    make_policy(limit="9/min")
    exempt(treatment="deny", network="198.51.100.7")
    answer = Visit()(FIRST)
    assert answer.status_code == 403
    assert "Retry-After" not in answer
    assert Visit()("198.51.100.9").status_code == 200


@pytest.mark.parametrize("network", ["10.0.0.1/8", "nonsense"])
def test_a_row_that_nobody_checked_is_left_out_and_the_rest_holds(make_policy, caplog, network):
    make_policy(limit="9/min")
    Exemption.objects.create(treatment="deny", network=network)
    exempt(treatment="deny", network=FIRST)
    assert Visit()(FIRST).status_code == 403
    assert Visit()(SECOND).status_code == 200
    assert ("is left out" in caplog.text) is (network == "nonsense")


def test_a_person_s_exemption_goes_before_that_of_the_network(make_policy, alice):
    make_policy()
    exempt(treatment="deny", network="198.51.100.0/24")
    exempt(treatment="allow", user=alice)
    assert gate.decide(PAGE, Member(alice.pk, FIRST)).admitted
    assert gate.decide(PAGE, Caller(FIRST)).denied


def test_the_smallest_network_decides(make_policy):
    exempt(treatment="deny", network="2001:db8::/32")
    exempt(treatment="allow", network="2001:db8:7::/48")
    exempt(treatment="deny", network="::ffff:192.0.2.0/120")
    listed = Exemptions(Exemption.objects.all())
    assert listed.of_address("2001:db8:7::1") is Treatment.ALLOWED
    assert listed.of_address("2001:db8:8::1") is Treatment.DENIED
    assert listed.of_address("::ffff:192.0.2.9") is Treatment.DENIED
    assert listed.of_address("192.0.3.1") is None
    assert listed.of_address("nonsense") is None


def test_an_exemption_ends_by_itself(make_policy):
    make_policy(limit="9/min")
    row = exempt(treatment="deny", network=FIRST, ends_at=timezone.now() + timedelta(seconds=0.3))
    assert Visit()(FIRST).status_code == 403
    wait_for(lambda: Visit()(FIRST).status_code == 200)
    assert Exemption.objects.filter(pk=row.pk).exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"network": "somewhere"},
        {"network": "192.0.2.0/40"},
        {"network": ""},
        {"network": "0.0.0.0/0"},
        {"network": "::/8"},
    ],
)
def test_an_exemption_that_cannot_be_meant_is_refused(fields):
    with pytest.raises(ValidationError):
        Exemption(treatment="deny", **fields).full_clean()


def test_an_exemption_names_one_thing_only(alice):
    with pytest.raises(ValidationError):
        Exemption(treatment="allow", network=FIRST, user=alice).full_clean()
    with pytest.raises(IntegrityError), transaction.atomic():
        Exemption.objects.create(treatment="allow", network=FIRST, user=alice)


def test_networks_have_one_spelling():
    row = Exemption(treatment="allow", network=" 2001:DB8:0::1/32 ")
    row.full_clean()
    assert row.network == "2001:db8::/32"
