"""What happens to people and limits becomes a fact: one a change, whichever door it came through, or none with it."""

import io
import re
import threading

import pytest
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import Client
from PIL import Image

from accounts import services
from accounts.events import UserConfirmed, UserCreated, UserDeactivated, UserDeleted, UserReactivated, UserUpdated
from accounts.models import Invitation, User
from accounts.signals import joined, profile_changed
from intellicolab.events.models import OutboxRow
from intellicolab.events.schema import decode
from intellicolab.redis.counters import counters
from ratelimit.events import LimitExceeded
from ratelimit.identity import named
from ratelimit.signals import refused_repeatedly
from realtime.importing.authors import Authors
from realtime.importing.formats import FORMATS

from .conftest import PASSWORD
from .limits import FIRST, Visit, statuses

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def facts(stream="user-events"):
    """Those since the last call, without id and time."""
    rows = OutboxRow.objects.filter(stream=stream).order_by("id")
    found = [decode(row.name, row.version, row.data) for row in rows]
    rows.delete()
    return [(type(event), {k: v for k, v in vars(event).items() if k not in ("id", "at")}) for event in found]


@pytest.fixture
def root(make_user, browser_of):
    """An administrator's browser; `root.user` is who they are."""
    user = make_user("root", is_staff=True, is_superuser=True)
    client = browser_of(user)
    client.user = user
    facts()
    return client


@pytest.fixture
def bob(root, make_user):
    user = make_user("bob")
    facts()
    return user


# --- Created and confirmed -----------------------------------------------------------------------------------------


def test_the_set_up_is_a_person_with_a_confirmed_address(client, fast_passwords):
    form = {"display_name": "Alice", "email": "alice@example.org", "password": PASSWORD, "time_zone": "UTC"}
    client.post("/setup/", form)
    alice = User.objects.get().pk
    assert facts() == [(UserCreated, {"user_id": alice, "by_id": None}), (UserConfirmed, {"user_id": alice})]


def test_who_signs_up_by_invitation_made_their_account_themselves(root):
    visitor = Client()
    visitor.get(f"/invite/{Invitation.issue(root.user)[1]}/")
    form = {"display_name": "Eve", "email": "eve@example.org", "password1": PASSWORD, "time_zone": "UTC"}
    assert visitor.post("/accounts/signup/", form).status_code == 302
    assert facts() == [(UserCreated, {"user_id": User.objects.get(display_name="Eve").pk, "by_id": None})]


def test_an_address_is_confirmed_by_its_link_once(root, mailoutbox, settings):
    settings.SIGNUP, settings.ACCOUNT_EMAIL_VERIFICATION = "open", "mandatory"
    visitor = Client()
    form = {"display_name": "Eve", "email": "eve@example.org", "password1": PASSWORD, "time_zone": "UTC"}
    visitor.post("/accounts/signup/", form)
    eve = User.objects.get(display_name="Eve").pk
    assert facts() == [(UserCreated, {"user_id": eve, "by_id": None})]
    link = re.search(r"http://testserver(/accounts/confirm-email/\S+/)", mailoutbox[-1].body)[1]
    for _ in range(2):
        visitor.post(link)
    assert facts() == [(UserConfirmed, {"user_id": eve})]


def test_an_address_is_confirmed_in_the_admin_by_the_action_only(root, bob):
    address = EmailAddress.objects.create(user=bob, email=bob.email, primary=True)
    form = {"user": bob.pk, "email": bob.email, "primary": "on", "verified": "on"}
    root.post(f"/admin/account/emailaddress/{address.pk}/change/", form)
    assert facts() == []
    for _ in range(2):
        root.post("/admin/account/emailaddress/", {"action": "make_verified", "_selected_action": [address.pk]})
    address.refresh_from_db()
    assert address.verified
    assert facts() == [(UserConfirmed, {"user_id": bob.pk})]


@pytest.mark.django_db(transaction=True)
def test_a_confirmation_and_its_fact_are_one(root, bob, monkeypatch):
    """The page's own commits are one by one, and a process may die between them."""
    address = EmailAddress.objects.create(user=bob, email=bob.email, primary=True)

    def die(user_id):
        raise SystemExit

    monkeypatch.setattr(services, "tell_confirmed", die)
    with pytest.raises(SystemExit):
        root.post("/admin/account/emailaddress/", {"action": "make_verified", "_selected_action": [address.pk]})
    with pytest.raises(SystemExit):
        root.post(f"/accounts/confirm-email/{EmailConfirmationHMAC(address).key}/")
    assert not EmailAddress.objects.filter(verified=True).exists()


def test_an_administrator_makes_an_account_for_somebody(root):
    form = {"email": "eve@example.org", "display_name": "Eve", "usable_password": "true"}
    root.post("/admin/accounts/user/add/", {**form, "password1": PASSWORD, "password2": PASSWORD})
    eve = User.objects.get(display_name="Eve").pk
    assert facts() == [(UserCreated, {"user_id": eve, "by_id": root.user.pk})]


def test_the_command_makes_a_person_as_well(fast_passwords, monkeypatch):
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    call_command("createsuperuser", email="eve@example.org", display_name="Eve", interactive=False, verbosity=0)
    assert facts() == [(UserCreated, {"user_id": User.objects.get().pk, "by_id": None})]


def test_the_authors_of_imported_messages_are_nobody(root, make_user):
    Authors(FORMATS["irc"]).ids(["wren"])
    nick = make_user("nick", is_placeholder=True, is_active=False)
    nick.display_name = "Nick"
    nick.save()
    services.set_active([nick], True)
    assert facts() == []


@pytest.mark.django_db(transaction=True)
def test_who_was_not_made_is_no_fact(make_user):
    """Something that goes on with the new person fails: neither they nor the fact are there."""

    def fail(sender, **kwargs):
        raise LookupError("no room")

    joined.connect(fail)
    try:
        with pytest.raises(LookupError):
            services.sign_up(User.objects.build_user("eve@example.org", PASSWORD), None)
    finally:
        joined.disconnect(fail)
    assert not User.objects.exists()
    assert facts() == []


# --- Changed -------------------------------------------------------------------------------------------------------

PROFILE = {"display_name": "Bob", "bio": "", "time_zone": "UTC"}


def test_the_profile_page_tells_what_has_changed_and_nothing_when_nothing_has(browser_of, bob):
    picture = io.BytesIO()
    Image.new("RGB", (9, 9)).save(picture, "PNG")
    picture.seek(0)
    picture.name = "me.png"
    browser = browser_of(bob)
    for form in (PROFILE, {**PROFILE, "bio": "Cooks", "display_name": "Rob"}, {**PROFILE, "picture": picture}):
        assert browser.post("/profile/", form).status_code == 302
    told = [(kind, set(fields["fields"]), fields["by_id"]) for kind, fields in facts()]
    assert told == [
        (UserUpdated, {"display_name", "bio"}, None),
        (UserUpdated, {"display_name", "bio", "avatar"}, None),
    ]


def test_another_address_to_sign_in_with_is_told(browser_of, bob):
    for email, primary in ((bob.email, True), ("rob@example.org", False)):
        EmailAddress.objects.create(user=bob, email=email, primary=primary, verified=True)
    browser_of(bob).post("/accounts/email/", {"action_primary": "", "email": "rob@example.org"})
    assert facts() == [(UserUpdated, {"user_id": bob.pk, "fields": ["email"], "by_id": None})]


def edit(browser, user, **changes):
    form = {**PROFILE, "email": user.email, "is_active": "on", **changes}
    return browser.post(f"/admin/accounts/user/{user.pk}/change/", {k: v for k, v in form.items() if v is not None})


def test_the_admins_form_tells_each_kind_of_change_once(root, bob):
    by = {"user_id": bob.pk, "by_id": root.user.pk}
    edit(root, bob)
    assert facts() == []
    edit(root, bob, email="Rob@Example.org", is_staff="on")
    assert facts() == [(UserUpdated, {**by, "fields": ["email", "is_staff"]})]
    bob.refresh_from_db()
    edit(root, bob, is_staff="on", is_active=None, bio="Gone")
    assert facts() == [(UserUpdated, {**by, "fields": ["bio"]}), (UserDeactivated, by)]
    edit(root, bob, is_staff="on", bio="Gone")
    assert facts() == [(UserReactivated, by)]


def test_the_admins_actions_tell_only_of_who_is_changed(root, bob, make_user):
    carol = make_user("carol", is_active=False)
    facts()
    chosen = {"_selected_action": [bob.pk, carol.pk]}
    root.post("/admin/accounts/user/", {"action": "deactivate", **chosen})
    assert facts() == [(UserDeactivated, {"user_id": bob.pk, "by_id": root.user.pk})]
    root.post("/admin/accounts/user/", {"action": "activate", **chosen})
    assert {(kind, fields["user_id"]) for kind, fields in facts()} == {
        (UserReactivated, bob.pk),
        (UserReactivated, carol.pk),
    }


def test_who_saved_somebody_else_has_no_part_in_the_next_save(bob, root):
    bob.bio = "Cooks"
    services.save_changed(bob, by=root.user)
    bob.bio = "Sings"
    bob.save()
    assert [fields["by_id"] for _kind, fields in facts()] == [root.user.pk, None]


def test_a_sign_in_is_no_change(bob):
    Client().post("/accounts/login/", {"login": bob.email, "password": PASSWORD})
    bob.refresh_from_db()
    assert bob.last_login
    assert facts() == []


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_taken_back_is_no_fact(bob, root):
    def fail(sender, **kwargs):
        raise LookupError("broken")

    profile_changed.connect(fail)
    bob.is_active = False
    try:
        with pytest.raises(LookupError):
            services.save_changed(bob, by=root.user)
        with pytest.raises(LookupError):
            services.set_active([bob], False)
    finally:
        profile_changed.disconnect(fail)
    assert User.objects.get(pk=bob.pk).is_active
    assert facts() == []


@pytest.mark.django_db(transaction=True)
def test_two_who_deactivate_somebody_at_once_have_done_it_once(bob, root):
    meet = threading.Barrier(2)

    def work(change):
        person = User.objects.get(pk=bob.pk)
        person.is_active = False
        meet.wait()
        change(person)
        connection.close()

    changes = (lambda person: services.save_changed(person, by=root.user), lambda person: person.save())
    threads = [threading.Thread(target=work, args=[change]) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [kind for kind, _fields in facts()] == [UserDeactivated]


# --- Deleted -------------------------------------------------------------------------------------------------------


def test_who_is_deleted_is_told_with_their_name_and_who_did_it(root, make_user):
    bob, carol, dave = (make_user(name) for name in ("bob", "carol", "dave"))
    facts()
    root.post(f"/admin/accounts/user/{bob.pk}/delete/", {"post": "yes"})
    root.post("/admin/accounts/user/", {"action": "delete_selected", "_selected_action": [carol.pk], "post": "yes"})
    dave_pk = dave.pk
    dave.delete()
    assert facts() == [
        (UserDeleted, {"user_id": bob.pk, "display_name": "Bob", "by_id": root.user.pk}),
        (UserDeleted, {"user_id": carol.pk, "display_name": "Carol", "by_id": root.user.pk}),
        (UserDeleted, {"user_id": dave_pk, "display_name": "Dave", "by_id": None}),
    ]


def test_who_may_not_change_a_superuser_may_not_delete_them(root, make_user, browser_of):
    staff = make_user("staff", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename__in=["change_user", "delete_user", "view_user"]))
    bob, browser = make_user("bob"), browser_of(staff)
    other = make_user("other", is_superuser=True)
    facts()
    chosen = {"action": "delete_selected", "_selected_action": [other.pk], "post": "yes"}
    assert browser.post("/admin/accounts/user/", chosen).status_code == 403
    assert browser.post(f"/admin/accounts/user/{other.pk}/delete/", {"post": "yes"}).status_code == 403
    browser.post(f"/admin/accounts/user/{bob.pk}/delete/", {"post": "yes"})
    assert [fields["user_id"] for _kind, fields in facts()] == [bob.pk]


# --- Limits --------------------------------------------------------------------------------------------------------


def test_who_is_refused_again_and_again_becomes_a_fact(make_policy, settings):
    settings.RATELIMIT_REPEATED = 3
    policy = make_policy("narrow", limit="1/min")
    counters.flush()
    statuses(Visit(), 5)
    counters.flush()
    [(kind, told)] = facts("system-events")
    assert kind is LimitExceeded
    assert (told["policy_id"], told["policy"], told["kind"], told["who"]) == (policy.pk, "narrow", "address", FIRST)
    assert told["refusals"] >= 3


@pytest.mark.parametrize(
    ("kind", "name", "told"), [("api_key", "s3cret-key", "s3cr…"), ("given", "a\0b\u202ec", "a\ufffdb\ufffdc")]
)
def test_secrets_and_what_a_log_could_not_show_are_not_told(make_policy, kind, name, told):
    refused_repeatedly.send(sender=None, policy_id=10**6, identity=named(kind, name), refusals=9)
    [(_kind, fields)] = facts("system-events")
    assert (fields["who"], fields["policy"]) == (told, "policy 1000000")


def test_a_database_that_is_away_harms_no_limit(make_policy, settings, caplog):
    settings.RATELIMIT_REPEATED = 1
    make_policy(limit="1/min")

    def away(*args):
        raise OperationalError("the database is away")

    counters.flush()
    answers = statuses(Visit(), 2)
    with connection.execute_wrapper(away):
        counters.flush()
    assert "the database is away" in caplog.text
    assert answers == [*statuses(Visit(), 1, "198.51.100.99"), 429]
