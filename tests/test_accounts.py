"""Signing in and out, passwords, the second factor, addresses: allauth's flows on our accounts and in our layout."""

import re
import time
from html.parser import HTMLParser

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts import services
from accounts.models import Invitation, User
from accounts.sessions import SessionUnavailable

from .conftest import PASSWORD

pytestmark = pytest.mark.django_db

NEW_PASSWORD = "a wholly different phrase"


@pytest.fixture
def staff(make_user):
    return make_user("dora", is_staff=True, is_superuser=True)


@pytest.fixture
def signed_in(client, alice):
    assert sign_in(client).status_code == 302
    return client


def sign_in(client, email="alice@example.org", password=PASSWORD, **more):
    return client.post("/accounts/login/", {"login": email, "password": password, **more})


def is_signed_in(client):
    return client.get("/profile/").status_code == 200


def found(pattern, page):
    """What the group of a pattern matches."""
    match = re.search(pattern, page)
    assert match, page
    return match.group(1)


def text(response):
    return response.content.decode()


# --- Signing in and out ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("email", ["alice@example.org", "ALICE@Example.ORG"])
def test_a_person_signs_in_with_their_email_in_any_case(client, alice, email):
    assert sign_in(client, email)["Location"] == "/"
    assert is_signed_in(client)


def test_a_wrong_password_and_an_unknown_address_look_the_same(client, alice):
    answers = [sign_in(client, password="wrong"), sign_in(client, "nobody@example.org")]
    errors = [re.findall(r'role="alert">([^<]+)<', text(answer)) for answer in answers]
    assert errors[0] == errors[1] != []
    assert not is_signed_in(client)


def test_wrong_passwords_keep_nobody_out_and_no_thread_asleep(client, alice):
    """allauth's own limits count inexactly and sleep; ours decide."""
    began = time.monotonic()
    for _ in range(12):
        assert sign_in(client, password="wrong").status_code == 200
    assert sign_in(client).status_code == 302
    assert time.monotonic() - began < 10


def test_signing_in_leads_back_to_where_one_was_but_never_to_another_site(client, alice):
    assert sign_in(client, next="/profile/")["Location"] == "/profile/"
    client.logout()
    assert sign_in(client, next="https://evil.example/")["Location"] == "/"


def test_the_sign_in_page_offers_an_account_only_to_who_can_make_one(client, alice, settings):
    assert "Sign up" not in text(client.get("/accounts/login/"))
    client.get(f"/invite/{Invitation.issue(alice, max_uses=1)[1]}/")
    assert "Sign up" in text(client.get("/accounts/login/"))
    settings.SIGNUP = "open"
    assert "Sign up" in text(Client().get("/accounts/login/"))


def test_signing_out_takes_a_post(signed_in):
    assert signed_in.get("/accounts/logout/").status_code == 200
    assert is_signed_in(signed_in)
    assert signed_in.post("/accounts/logout/")["Location"] == "/accounts/login/"
    assert not is_signed_in(signed_in)


def test_a_deactivated_person_cannot_sign_in_and_is_told_why(client, alice):
    services.set_active([alice], False)
    response = client.post("/accounts/login/", {"login": alice.email, "password": PASSWORD}, follow=True)
    assert "deactivated" in text(response)
    assert not is_signed_in(client)


def test_who_is_deactivated_while_signed_in_is_out_with_the_next_request(signed_in, alice):
    assert is_signed_in(signed_in)
    services.set_active([alice], False)
    assert not is_signed_in(signed_in)
    services.set_active([alice], True)
    assert is_signed_in(signed_in)


def test_the_author_of_imported_messages_cannot_sign_in_even_with_a_password(client, alice, make_user, mailoutbox):
    make_user("nick", is_placeholder=True)
    assert sign_in(client, "nick@example.org")["Location"] == "/accounts/inactive/"
    assert not is_signed_in(client)
    client.post("/accounts/password/reset/", {"email": "nick@example.org"})
    assert mailoutbox == []


def test_the_address_of_the_client_is_what_the_server_says_and_no_header(client, alice, mailoutbox, settings):
    settings.ACCOUNT_EMAIL_NOTIFICATIONS = True
    EmailAddress.objects.create(user=alice, email=alice.email, primary=True, verified=True)
    sign_in(client)
    client.post(
        "/accounts/password/change/",
        {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD},
        headers={"x-forwarded-for": "203.0.113.9"},
        REMOTE_ADDR="198.51.100.7",
    )
    assert "198.51.100.7" in mailoutbox[-1].body
    assert "203.0.113.9" not in mailoutbox[-1].body


# --- Passwords and addresses ---------------------------------------------------------------------------------------


def test_a_forgotten_password_is_replaced_through_a_link_in_a_mail(client, alice, mailoutbox, settings):
    client.post("/accounts/password/reset/", {"email": "Alice@example.org"})
    (mail,) = mailoutbox
    assert mail.to == ["alice@example.org"]
    assert mail.subject.startswith(f"[{settings.SITE_NAME}]")
    assert f"Hello from {settings.SITE_NAME}!" in mail.body
    link = found(r"http://testserver(/accounts/password/reset/key/\S+)", mail.body)
    form = client.get(link, follow=True)
    address = form.redirect_chain[-1][0]
    client.post(address, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})
    assert sign_in(client).status_code == 200
    assert sign_in(client, password=NEW_PASSWORD).status_code == 302
    assert "no longer works" in text(Client().get(link, follow=True))


def test_a_reset_for_an_unknown_address_looks_the_same_and_sends_nothing(client, alice, mailoutbox):
    known = client.post("/accounts/password/reset/", {"email": "alice@example.org"})
    unknown = client.post("/accounts/password/reset/", {"email": "nobody@example.org"})
    assert known["Location"] == unknown["Location"]
    assert len(mailoutbox) == 1


def test_a_person_changes_their_password_and_stays_signed_in(signed_in):
    form = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert signed_in.post("/accounts/password/change/", form).status_code == 302
    assert is_signed_in(signed_in)
    assert sign_in(Client(), password=NEW_PASSWORD).status_code == 302


def test_a_second_address_is_confirmed_by_mail_and_made_the_one_to_sign_in_with(signed_in, alice, mailoutbox):
    signed_in.post("/accounts/email/", {"action_add": "", "email": "al@example.org"})
    link = found(r"http://testserver(/accounts/confirm-email/\S+/)", mailoutbox[-1].body)
    assert "Confirm your address" in text(signed_in.get(link))
    signed_in.post(link)
    assert EmailAddress.objects.get(email="al@example.org").verified
    signed_in.post("/accounts/email/", {"action_primary": "", "email": "al@example.org"})
    alice.refresh_from_db()
    assert alice.email == "al@example.org"


def test_with_mail_set_up_a_new_person_confirms_their_address_first(client, alice, mailoutbox, settings):
    settings.SIGNUP = "open"
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    form = {"display_name": "Bob", "email": "bob@example.org", "password1": PASSWORD, "time_zone": "UTC"}
    assert "Look in your mail" in text(client.post("/accounts/signup/", form, follow=True))
    assert not is_signed_in(client)
    link = found(r"http://testserver(/accounts/confirm-email/\S+/)", mailoutbox[-1].body)
    client.post(link)
    sign_in(client, "bob@example.org")
    assert is_signed_in(client)


# --- Second factor ---------------------------------------------------------------------------------------------------


def code_of(secret, step=0):
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + step))


def switch_on_app(client):
    """The secret of a person's authenticator app, switched on through the pages."""
    page = client.get("/accounts/2fa/totp/activate/", follow=True)
    assert "Confirm that it is you" in text(page)
    page = client.post(page.redirect_chain[-1][0], {"password": PASSWORD}, follow=True)
    assert_in_our_layout(page)
    secret = found(r'id="authenticator-secret" value="(\w+)"', text(page))
    assert 'src="data:image/svg+xml' in text(page)
    assert "img-src 'self' data:" in page["Content-Security-Policy"]
    assert client.post("/accounts/2fa/totp/activate/", {"code": code_of(secret)}).status_code == 302
    return secret


def test_with_an_authenticator_app_the_password_alone_is_not_enough(signed_in):
    secret = switch_on_app(signed_in)
    client = Client()
    assert sign_in(client)["Location"].startswith("/accounts/2fa/authenticate/")
    assert not is_signed_in(client)
    assert client.post("/accounts/2fa/authenticate/", {"code": "000000"}).status_code == 200
    assert client.post("/accounts/2fa/authenticate/", {"code": code_of(secret, 1)}).status_code == 302
    assert is_signed_in(client)


def test_a_recovery_code_signs_in_once(signed_in):
    switch_on_app(signed_in)
    shown = text(signed_in.get("/accounts/2fa/recovery-codes/"))
    code = found(r'<pre id="recovery-codes">(\S+)', shown)
    answers = []
    for _ in range(2):
        client = Client()
        sign_in(client)
        client.post("/accounts/2fa/authenticate/", {"code": code})
        answers.append(is_signed_in(client))
    assert answers == [True, False]


# --- Every page ------------------------------------------------------------------------------------------------------


class Strict(HTMLParser):
    """Collects what the content security policy would block."""

    def __init__(self):
        super().__init__()
        self.blocked = []
        self.headings = 0

    def handle_starttag(self, tag, attributes):
        names = dict(attributes)
        if tag == "style" or "style" in names or any(name.startswith("on") for name in names):
            self.blocked.append((tag, attributes))
        if tag == "script" and "src" not in names:
            self.blocked.append((tag, attributes))
        self.headings += tag == "h1"


def assert_in_our_layout(response):
    checker = Strict()
    checker.feed(text(response))
    assert checker.blocked == []
    assert checker.headings == 1
    assert 'id="main"' in text(response)
    assert "script-src" in response["Content-Security-Policy"] or "default-src" in response["Content-Security-Policy"]
    assert "unsafe-inline" not in response["Content-Security-Policy"]


ANONYMOUS = (
    "account_login account_signup account_reset_password account_reset_password_done account_inactive "
    "account_email_verification_sent account_reset_password_from_key_done"
).split()
SIGNED_IN = (
    "account_logout account_email account_change_password account_reauthenticate mfa_index profile invitations"
).split()


@pytest.mark.parametrize("name", ANONYMOUS)
def test_each_page_for_visitors_is_in_our_layout(client, alice, settings, name):
    settings.SIGNUP = "open"
    response = client.get(reverse(name))
    assert response.status_code == 200
    assert_in_our_layout(response)


@pytest.mark.parametrize("name", SIGNED_IN)
def test_each_page_for_people_is_in_our_layout(client, staff, name):
    sign_in(client, staff.email)
    response = client.get(reverse(name))
    assert response.status_code == 200
    assert_in_our_layout(response)


def test_the_pages_of_the_second_factor_are_in_our_layout(signed_in):
    switch_on_app(signed_in)
    for name in ("mfa_index", "mfa_view_recovery_codes", "mfa_generate_recovery_codes", "mfa_deactivate_totp"):
        assert_in_our_layout(signed_in.get(reverse(name)))
    assert "attachment" in signed_in.get(reverse("mfa_download_recovery_codes"))["Content-Disposition"]
    client = Client()
    sign_in(client)
    assert_in_our_layout(client.get("/accounts/2fa/authenticate/"))


def test_links_that_do_not_work_are_in_our_layout(client, alice):
    for path in ("/accounts/confirm-email/nonsense/", "/accounts/password/reset/key/1-nonsense/"):
        assert_in_our_layout(client.get(path, follow=True))


# --- The admin -------------------------------------------------------------------------------------------------------


def test_the_admin_is_entered_through_the_sites_own_sign_in(client, staff):
    for path in ("/admin/", "/admin/login/"):
        response = client.get(path, follow=True)
        assert response.redirect_chain[-1][0].startswith("/accounts/login/?next=")
    assert client.post("/admin/login/", {"username": staff.email, "password": PASSWORD}).status_code == 302
    assert not is_signed_in(client)


def test_who_is_no_administrator_gets_a_clear_refusal(client, alice, bob):
    client.force_login(bob)
    response = client.get("/admin/", follow=True, headers={"accept": "text/html"})
    assert response.status_code == 403
    assert_in_our_layout(response)


@pytest.mark.parametrize("model", ["user", "invitation", "installation"])
def test_admin_lists_cost_the_same_for_one_row_and_for_many(
    client, staff, make_user, model, django_assert_max_num_queries
):
    client.force_login(staff)
    for number in range(20):
        make_user(f"person{number}")
    for user in User.objects.all():
        services.Invitation.issue(user)
    with django_assert_max_num_queries(12):
        assert client.get(f"/admin/accounts/{model}/").status_code == 200


def test_an_administrator_makes_a_person_who_joins_like_any_other(client, staff):
    client.force_login(staff)
    form = {
        "email": "Eve@Example.org",
        "display_name": " Eve ",
        "usable_password": "true",
        "password1": PASSWORD,
        "password2": PASSWORD,
    }
    assert client.post("/admin/accounts/user/add/", form).status_code == 302
    assert User.objects.get(email="eve@example.org").display_name == "Eve"
    other = Client()
    sign_in(other, "eve@example.org")
    assert is_signed_in(other)


def test_an_address_taken_in_another_case_is_refused_in_words(client, staff, alice):
    client.force_login(staff)
    form = {
        "email": "ALICE@example.org",
        "display_name": "Eve",
        "usable_password": "true",
        "password1": PASSWORD,
        "password2": PASSWORD,
    }
    response = client.post("/admin/accounts/user/add/", form)
    assert response.status_code == 200
    assert "already" in text(response)


def edit(client, user, **changes):
    fields = {"email": user.email, "display_name": user.display_name, "bio": "", "time_zone": "UTC"}
    return client.post(f"/admin/accounts/user/{user.pk}/change/", {**fields, "is_active": "on", **changes})


def test_an_edited_person_is_changed_everywhere(client, staff, alice):
    EmailAddress.objects.create(user=alice, email=alice.email, primary=True, verified=True)
    client.force_login(staff)
    assert client.get(f"/admin/accounts/user/{alice.pk}/change/").status_code == 200
    assert edit(client, alice, email="al@example.org", display_name="Al").status_code == 302
    alice.refresh_from_db()
    assert (alice.email, alice.display_name) == ("al@example.org", "Al")
    other = Client()
    sign_in(other, "alice@example.org")
    assert not is_signed_in(other)
    sign_in(other, "al@example.org")
    assert is_signed_in(other)


def test_the_password_page_works(client, staff, alice):
    client.force_login(staff)
    form = {"usable_password": "true", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    address = f"/admin/accounts/user/{alice.pk}/password/"
    assert client.get(address).status_code == 200
    assert client.post(address, form).status_code == 302
    assert sign_in(Client(), password=NEW_PASSWORD).status_code == 302


def act(client, action, *users, model="user"):
    chosen = {"action": action, "_selected_action": [user.pk for user in users]}
    return client.post(f"/admin/accounts/{model}/", chosen, follow=True)


def test_people_are_deactivated_and_activated_but_not_oneself(client, staff, alice, bob):
    client.force_login(staff)
    shown = text(act(client, "deactivate", alice, bob, staff))
    assert "2 people were deactivated" in shown
    assert "cannot deactivate yourself" in shown
    assert set(User.objects.filter(is_active=True)) == {staff}
    act(client, "activate", alice)
    alice.refresh_from_db()
    assert alice.is_active


def test_who_may_edit_accounts_cannot_make_themselves_a_superuser(client, staff, alice, bob):
    User.objects.filter(pk=bob.pk).update(is_staff=True)
    bob.user_permissions.set(Permission.objects.filter(content_type__app_label="accounts"))
    client.force_login(User.objects.get(pk=bob.pk))
    assert edit(client, bob, is_staff="on", is_superuser="on").status_code == 302
    bob.refresh_from_db()
    assert not bob.is_superuser
    assert edit(client, staff, email="bob2@example.org").status_code == 403
    assert client.get(f"/admin/accounts/user/{staff.pk}/password/").status_code == 403
    act(client, "deactivate", staff)
    staff.refresh_from_db()
    assert staff.is_active


def test_placeholders_can_be_filtered(client, staff, make_user):
    make_user("nick", is_placeholder=True)
    client.force_login(staff)
    shown = text(client.get("/admin/accounts/user/?is_placeholder__exact=1"))
    assert "nick@example.org" in shown
    assert staff.email not in shown.partition("result_list")[2]


def test_invitations_are_revoked_in_the_admin_and_neither_made_nor_changed(client, staff):
    invitation, _ = services.Invitation.issue(staff)
    client.force_login(staff)
    assert client.get("/admin/accounts/invitation/add/").status_code == 403
    assert invitation.token_hash not in text(client.get(f"/admin/accounts/invitation/{invitation.pk}/change/"))
    assert "1 invitation revoked" in text(act(client, "revoke", invitation, model="invitation"))
    invitation.refresh_from_db()
    assert invitation.revoked_at


# --- Error pages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [False, True])
def test_errors_are_pages_or_json_as_the_client_prefers(client, alice, as_json):
    strict = Client(enforce_csrf_checks=True)
    accept = {"accept": "application/json" if as_json else "text/html,*/*;q=0.8"}
    client.force_login(alice)
    answers = {
        404: client.get("/nowhere/", headers=accept),
        403: strict.post("/accounts/login/", headers=accept),
        400: client.get("/", headers={**accept, "host": "evil.example"}),
    }
    for status, response in answers.items():
        assert response.status_code == status
        assert "Accept" in response["Vary"]
        if as_json:
            assert set(response.json()) == {"error", "detail"}
        else:
            assert_in_our_layout(response)


def test_an_error_of_ours_is_a_page_that_tells_no_details(client, alice, monkeypatch):
    def fail(user_id):
        raise RuntimeError("secret details")

    monkeypatch.setattr("accounts.views.profiles.get_profile", fail)
    client.force_login(alice)
    client.raise_request_exception = False
    response = client.get(f"/people/{alice.pk}/", headers={"accept": "text/html"})
    assert response.status_code == 500
    assert "secret" not in text(response)
    assert_in_our_layout(response)


def test_an_outage_inside_a_view_is_a_503_page_too(client, alice, monkeypatch):
    def fail(user_id):
        raise SessionUnavailable

    monkeypatch.setattr("accounts.views.profiles.get_profile", fail)
    client.force_login(alice)
    response = client.get(f"/people/{alice.pk}/", headers={"accept": "text/html"})
    assert response.status_code == 503
    assert_in_our_layout(response)
