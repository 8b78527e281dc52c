"""Invitations: who makes them, whom they admit, and what a link says that no longer works."""

import re
import threading
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from allauth.core import context
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts import services
from accounts.models import Invitation, User
from accounts.queries import INVITATION
from accounts.sessions import SessionStore
from accounts.signup import SignupForm
from realtime import services as chat
from realtime.models import Membership

from .conftest import PASSWORD

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def form_of(name):
    return {
        "display_name": name.title(),
        "email": f"{name}@example.org",
        "password1": PASSWORD,
        "time_zone": "Europe/Paris",
    }


@pytest.fixture
def admin(make_user):
    return make_user("alice", is_staff=True)


@pytest.fixture
def invite(admin):
    def issue(max_uses=1, **fields):
        invitation, token = Invitation.issue(admin, max_uses)
        if fields:
            Invitation.objects.filter(pk=invitation.pk).update(**fields)
        return f"/invite/{token}/"

    return issue


def found(pattern, page):
    """What the group of a pattern matches."""
    match = re.search(pattern, page)
    assert match, page
    return match.group(1)


def text(response):
    return response.content.decode()


def test_an_administrator_makes_a_link_that_is_shown_once(client, admin):
    client.force_login(admin)
    response = client.post("/invitations/", {"max_uses": 3}, follow=True)
    link = found(r'value="(http://testserver/invite/[\w-]+/)"', text(response))
    assert 'data-copy="#invitation-link"' in text(response)
    assert link not in text(client.get("/invitations/"))
    invitation = Invitation.objects.get()
    assert invitation.max_uses == 3
    assert timedelta(days=6, hours=23) < invitation.expires_at - timezone.now() <= timedelta(days=7)
    assert link.split("/")[-2] not in str(Invitation.objects.values().get())


def test_the_link_has_the_public_address(client, admin, settings):
    settings.PUBLIC_URL = "https://chat.example.org"
    client.force_login(admin)
    assert 'value="https://chat.example.org/invite/' in text(client.post("/invitations/", {"max_uses": 1}, follow=True))


@pytest.mark.parametrize("uses", ["0", "1001", "many", ""])
def test_a_number_of_uses_that_makes_no_sense_makes_no_link(client, admin, uses):
    client.force_login(admin)
    assert client.post("/invitations/", {"max_uses": uses}).status_code == 422
    assert not Invitation.objects.exists()


def test_only_administrators_make_and_revoke(client, bob, invite):
    invite()
    number = Invitation.objects.get().pk
    assert client.get("/invitations/")["Location"] == "/accounts/login/?next=/invitations/"
    client.force_login(bob)
    assert client.get("/invitations/").status_code == 403
    assert client.post("/invitations/", {"max_uses": 1}).status_code == 403
    assert client.post(f"/invitations/{number}/revoke/").status_code == 403
    assert Invitation.objects.get().is_usable


def test_a_link_leads_to_an_account_in_the_room_general(client, admin, invite):
    general = chat.create_room(admin, "General")
    response = client.get(invite(), follow=True)
    assert response.redirect_chain == [("/accounts/signup/", 302)]
    response = client.post("/accounts/signup/", form_of("bob"))
    assert response["Location"] == "/"
    bob = User.objects.get(email="bob@example.org")
    assert (bob.display_name, bob.time_zone, bob.is_staff) == ("Bob", "Europe/Paris", False)
    assert Membership.objects.filter(user=bob, room=general).exists()
    assert EmailAddress.objects.get(user=bob).primary
    assert Invitation.objects.get().uses == 1
    assert client.get("/profile/").status_code == 200
    assert INVITATION not in client.session


def test_a_used_up_link_says_so(client, invite):
    response = client.get(invite(uses=1))
    assert response.status_code == 410
    assert "As many people as it admits" in text(response)
    assert "Ask whoever sent it" in text(response)


def test_an_expired_link_says_so(client, invite):
    response = client.get(invite(expires_at=timezone.now() - timedelta(seconds=1)))
    assert response.status_code == 410
    assert "7 days" in text(response)


def test_a_revoked_link_says_so(client, admin, invite):
    link = invite()
    staff = Client()
    staff.force_login(admin)
    staff.post(f"/invitations/{Invitation.objects.get().pk}/revoke/")
    response = client.get(link)
    assert response.status_code == 410
    assert "withdrawn" in text(response)


@pytest.mark.parametrize("token", ["x", "a" * 32, "%00", "ключ", "x" * 3000])
def test_a_link_that_was_never_given_out_is_not_found(client, admin, token):
    assert client.get(f"/invite/{token}/").status_code == 404


def test_without_an_invitation_nobody_signs_up(client, admin):
    assert "You need an invitation" in text(client.get("/accounts/signup/"))
    client.post("/accounts/signup/", form_of("bob"))
    assert not User.objects.filter(email="bob@example.org").exists()


def test_with_open_sign_up_nobody_needs_one(client, admin, settings):
    settings.SIGNUP = "open"
    client.post("/accounts/signup/", form_of("bob"))
    assert client.get("/profile/").status_code == 200
    staff = Client()
    staff.force_login(admin)
    assert "open to everybody" in text(staff.get("/invitations/"))


def test_a_link_revoked_while_the_form_is_filled_in_admits_nobody(client, invite):
    client.get(invite())
    assert client.get("/accounts/signup/").status_code == 200
    services.revoke_invitations(Invitation.objects.all())
    assert "You need an invitation" in text(client.post("/accounts/signup/", form_of("bob")))
    assert not User.objects.filter(email="bob@example.org").exists()


def test_a_signed_in_person_needs_no_invitation(client, bob, invite):
    client.force_login(bob)
    response = client.get(invite())
    assert response["Location"] == "/"
    assert "already have an account" in text(client.get("/profile/"))


def test_a_link_for_three_admits_three(invite):
    link = invite(max_uses=3)
    answers = []
    for name in ("bob", "charlie", "dora", "eve"):
        client = Client()
        answers.append(client.get(link).status_code)
        client.post("/accounts/signup/", form_of(name))
    assert answers == [302, 302, 302, 410]
    assert User.objects.count() == 4


@pytest.mark.django_db(transaction=True)
def test_a_single_use_link_used_by_two_at_once_admits_one(invite, make_user):
    link = invite()
    barrier = threading.Barrier(2)
    answers = {}

    def sign_up(name):
        client = Client()
        client.get(link)
        assert "Make your account" in text(client.get("/accounts/signup/"))
        barrier.wait(10)
        answers[name] = client.post("/accounts/signup/", form_of(name))
        connection.close()

    threads = [threading.Thread(target=sign_up, args=(name,)) for name in ("bob", "charlie")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    admitted = [name for name, answer in answers.items() if answer.status_code == 302]
    assert len(admitted) == 1
    (refused,) = set(answers) - set(admitted)
    assert "invitation" in text(answers[refused])
    assert set(User.objects.values_list("email", flat=True)) == {"alice@example.org", f"{admitted[0]}@example.org"}
    assert not EmailAddress.objects.exclude(user__email=f"{admitted[0]}@example.org").exists()
    assert Invitation.objects.get().uses == 1


def saved(form, **session):
    """What the sign-up page answers when the checked form is saved: the moment at which others may have been faster."""
    request = RequestFactory().post("/accounts/signup/")
    request.session = SessionStore()
    request.session.update(session)
    assert form.is_valid(), form.errors
    with context.request_context(request):
        return form.try_save(request)


def test_who_comes_second_is_told_in_the_form_and_nothing_is_half_made(invite):
    invite(uses=1)
    person, response = saved(SignupForm(form_of("bob")), **{INVITATION: Invitation.objects.get().pk})
    assert person is None
    assert response.status_code == 409
    assert "no account was made" in text(response)
    assert 'value="bob@example.org"' in text(response)
    assert not User.objects.filter(email="bob@example.org").exists()
    assert not EmailAddress.objects.exists()


def test_an_address_taken_at_the_last_moment_is_told_in_the_form_and_uses_nothing_up(invite, make_user):
    invite()
    form = SignupForm(form_of("bob"))
    assert form.is_valid()
    make_user("bob")
    person, response = saved(form, **{INVITATION: Invitation.objects.get().pk})
    assert person is None
    assert response.status_code == 409
    assert "already an account" in text(response)
    assert Invitation.objects.get().uses == 0
