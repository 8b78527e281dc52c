"""Policies and exemptions in the admin, the preview, and the command for operators."""

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.urls import reverse

from intellicolab.redis.counters import counters
from ratelimit.book import book
from ratelimit.models import Exemption, Policy
from ratelimit.rules import Algorithm

from .limits import FIRST, Visit, look_again, statuses

pytestmark = pytest.mark.django_db

FORM = {
    "name": "tried", "mode": "enforce", "order": 5, "subject": "request", "tier": "everyone", "identity": "address",
    "algorithm": 1, "limit": "3/min", "cost": 1, "without_redis": "open",
}  # fmt: skip


@pytest.fixture
def root(make_user, browser_of):
    return browser_of(make_user("root", is_staff=True, is_superuser=True))


def text(response):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def test_a_policy_is_added_and_changed(root, make_policy):
    make_policy("other")
    assert root.post(reverse("admin:ratelimit_policy_add"), FORM).status_code == 302
    row = Policy.objects.get(name="tried")
    assert (row.limit, row.algorithm) == ("3/min", Algorithm.FIXED_WINDOW)
    change = reverse("admin:ratelimit_policy_change", args=[row.pk])
    assert "Try it on the last hour" in root.get(change).content.decode()
    assert root.post(change, {**FORM, "limit": "5/min"}).status_code == 302
    row.refresh_from_db()
    assert row.limit == "5/min"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"limit": "a lot"}, "Write a number and a time, such as 100/min"),
        ({"burst": 5}, "Only a token bucket and GCRA have a burst"),
        ({"cost": 9}, "Nothing would ever be admitted"),
        ({"tier": "group"}, "Choose the group"),
    ],
)
def test_a_mistake_is_told_beside_its_field(root, make_policy, fields, words):
    make_policy("other")
    answer = root.post(reverse("admin:ratelimit_policy_add"), {**FORM, **fields})
    assert answer.status_code == 200
    assert words in text(answer)
    assert not Policy.objects.filter(name="tried").exists()


def test_several_are_switched_at_once(root, make_policy):
    rows = [make_policy("one"), make_policy("two")]
    chosen = {"action": "shadow", "_selected_action": [row.pk for row in rows]}
    answer = root.post(reverse("admin:ratelimit_policy_changelist"), chosen, follow=True)
    assert "2 policies: Shadow" in text(answer)
    assert set(Policy.objects.values_list("mode", flat=True)) == {"shadow"}
    assert LogEntry.objects.filter(change_message__contains="Shadow").count() == 2


def test_the_preview_tells_of_the_form_as_it_is_and_saves_nothing(root, make_policy):
    row = make_policy("tried", limit="100/min", mode="shadow")
    statuses(Visit(), 7, path="/a")
    counters.flush()
    address = reverse("admin:ratelimit_policy_preview", args=[row.pk])
    answer = root.post(address, {**FORM, "path": "/a", "limit": "5/min"})
    assert "2 of 7 would have been refused" in text(answer)
    assert "GET /a" in text(answer)
    row.refresh_from_db()
    assert row.limit == "100/min"
    new = root.post(
        reverse("admin:ratelimit_policy_add_preview"), {**FORM, "name": "new", "path": "/a", "limit": "9/min"}
    )
    assert "None of 7 would have been refused" in text(new)


def test_a_preview_of_a_form_with_mistakes_says_so(root, make_policy):
    row = make_policy("tried")
    answer = root.post(reverse("admin:ratelimit_policy_preview", args=[row.pk]), {**FORM, "limit": "x"})
    assert "The form has errors" in text(answer)
    concurrent = {**FORM, "subject": "connect", "algorithm": 5, "limit": "5", "identity": "user"}
    assert "How long sockets stayed open is not known" in text(
        root.post(reverse("admin:ratelimit_policy_preview", args=[row.pk]), concurrent)
    )


def test_the_preview_is_for_those_who_may_change_policies(make_policy, make_user, browser_of):
    row = make_policy("tried")
    staff = browser_of(make_user("staff", is_staff=True))
    assert staff.post(reverse("admin:ratelimit_policy_preview", args=[row.pk]), FORM).status_code == 403


def test_nobody_shuts_themselves_out(root, make_policy):
    make_policy("other", path="/other")
    add = reverse("admin:ratelimit_exemption_add")
    answer = root.post(add, {"treatment": "deny", "network": "127.0.0.0/8"})
    assert "This would shut out yourself" in text(answer)
    me = int(root.session["_auth_user_id"])
    assert "This would shut out yourself" in text(root.post(add, {"treatment": "deny", "user": me}))
    assert root.post(add, {"treatment": "deny", "network": "192.0.2.1"}).status_code == 302
    assert root.post(add, {"treatment": "allow", "network": "127.0.0.0/8"}).status_code == 302
    assert Exemption.objects.count() == 2


def test_a_wrong_network_is_told(root, make_policy):
    make_policy("other")
    answer = root.post(reverse("admin:ratelimit_exemption_add"), {"treatment": "deny", "network": "300.1.1.1"})
    assert "is neither an address nor a network" in text(answer)


def test_the_dashboard_shows_policies_and_who_is_refused(root, make_policy):
    make_policy("watched", limit="1/min", path="/a")
    statuses(Visit(), 4, path="/a")
    counters.flush()
    page = text(root.get("/admin/"))
    assert "watched Enforce" in page
    assert f"{FIRST} address watched 3" in page
    assert "GET /a 3" in page


# --- manage.py ratelimit ---


def said(capsys, *arguments):
    call_command("ratelimit", *arguments)
    return capsys.readouterr().out


def test_the_command_lists(make_policy, capsys, alice):
    make_policy("first", limit="5/s", burst=9, algorithm=Algorithm.TOKEN_BUCKET, path="/a", methods="POST")
    Exemption.objects.create(treatment="deny", user=alice, note="spam")
    out = said(capsys, "list")
    assert re.search(r"first +enforce +5/s, 9 at once a address, everyone, requests POST /a", out)
    assert "Deny Alice" in out
    assert "spam" in out


def test_the_command_explains_which_policies_concern_somebody_and_how_they_stand(make_policy, capsys, alice):
    make_policy("pages", limit="3/min")
    make_policy("people", limit="9/min", identity="user", tier="authenticated")
    make_policy("posts", methods="POST")
    statuses(Visit(), 2)
    out = said(capsys, "explain", "--path", "/x", "--address", FIRST)
    assert re.search(rf"pages +address {FIRST} +1 left", out)
    assert "posts" not in out
    statuses(Visit(), 2)
    assert re.search(r"pages .* refused for \d+\.\d s", said(capsys, "explain", "--address", FIRST))
    out = said(capsys, "explain", "--user", "alice@example.org", "--address", "192.0.2.1", "--method", "POST")
    assert re.search(rf"people +user {alice.pk} +9 left", out)
    assert "posts" in out
    assert said(capsys, "explain", "--frame", "typing") == "No policy concerns this.\n"
    Exemption.objects.create(treatment="allow", user=alice)
    look_again()
    assert "An exemption goes before all policies" in said(capsys, "explain", "--user", str(alice.pk))


@pytest.mark.django_db(transaction=True)
def test_the_command_resets(make_policy, capsys):
    make_policy("pages", limit="2/hour")
    make_policy("more", limit="2/hour")
    visit = Visit()
    assert statuses(visit, 3) == [200, 200, 429]
    assert said(capsys, "reset", "--address", FIRST, "--policy", "pages").startswith("Reset: 1.")
    assert visit().status_code == 429
    assert said(capsys, "reset", "--address", FIRST).startswith("Reset: 1.")
    assert visit().status_code == 200
    assert book.is_recent


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("explain", "--user", "nobody@example.org"), "There is nobody"),
        (("explain", "--address", "somewhere"), "is no address"),
        (("reset", "--policy", "none", "--address", FIRST), "no policy named"),
    ],
)
def test_the_command_says_what_is_wrong(make_policy, arguments, words):
    make_policy("pages")
    with pytest.raises(CommandError, match=words):
        call_command("ratelimit", *arguments)


def test_the_command_says_when_redis_is_away(make_policy, redis_server):
    make_policy("pages")
    book.policies()
    redis_server.kill()
    with pytest.raises(CommandError, match="Redis does not answer"):
        call_command("ratelimit", "reset", "--address", FIRST)
