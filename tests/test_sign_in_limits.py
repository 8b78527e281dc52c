"""Attempts to sign in to one account: limited from wherever they come, and free again for who has the password."""

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse

from accounts import attempts
from accounts.models import Installation

from .conftest import PASSWORD
from .limits import counted

pytestmark = pytest.mark.django_db

WORDS = "too many attempts to sign in to this account"


@pytest.fixture
def account_policy(make_policy, alice):
    Installation.objects.get_or_create(defaults={"administrator": alice})
    return make_policy(attempts.POLICY, subject="named", identity="given", limit="3/hour", algorithm=1)


def sign_in(client, password=PASSWORD, email="alice@example.org", address="192.0.2.1"):
    return client.post(reverse("account_login"), {"login": email, "password": password}, REMOTE_ADDR=address)


def test_an_account_takes_so_many_wrong_passwords_from_wherever_they_come(client, account_policy):
    before = counted(account_policy, "refused")
    for number in range(3):
        assert WORDS not in sign_in(client, "wrong", address=f"192.0.2.{number}").content.decode()
    answer = sign_in(client, address="198.51.100.1")
    assert answer.status_code == 200
    assert WORDS in answer.content.decode()
    assert "Try again in 60 minutes" in answer.content.decode()
    assert counted(account_policy, "refused") == before + 1


def test_whether_there_is_such_an_account_makes_no_difference(client, account_policy):
    for _ in range(3):
        sign_in(client, "wrong", "nobody@example.org")
    assert WORDS in sign_in(client, "wrong", "Nobody@Example.org ").content.decode()


def test_a_right_password_is_no_attempt(client, account_policy):
    for _ in range(5):
        assert sign_in(client).status_code == 302
        client.logout()
    for _ in range(3):
        assert WORDS not in sign_in(client, "wrong").content.decode()
    assert WORDS in sign_in(client).content.decode()


def test_other_accounts_go_on(client, account_policy, bob):
    for _ in range(4):
        sign_in(client, "wrong")
    assert sign_in(client, email="bob@example.org").status_code == 302


def test_a_password_that_is_asked_for_again_is_limited_too(client, account_policy, alice):
    client.force_login(alice)
    for _ in range(3):
        client.post(reverse("account_reauthenticate"), {"password": "wrong"})
    answer = client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    assert WORDS in answer.content.decode()


def test_guessed_codes_are_attempts_and_the_right_one_gives_them_back(client, account_policy, alice, monkeypatch):
    from allauth.mfa.models import Authenticator
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    TOTP.activate(alice, generate_totp_secret())
    right = []
    monkeypatch.setattr(TOTP, "validate_code", lambda self, code: code in right)
    assert Authenticator.objects.filter(user=alice).exists()
    assert sign_in(client).status_code == 302  # a right password that waits for its code: 1
    for code in ("000001", "000002"):
        client.post(reverse("mfa_authenticate"), {"code": code})  # 2, 3
    right.append("000003")
    answer = client.post(reverse("mfa_authenticate"), {"code": "000003"})
    assert WORDS in answer.content.decode()
    assert "_auth_user_id" not in client.session


def test_a_right_code_signs_in_and_counts_nothing(client, account_policy, alice, monkeypatch):
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    TOTP.activate(alice, generate_totp_secret())
    monkeypatch.setattr(TOTP, "validate_code", lambda self, code: True)
    for number in range(4):
        sign_in(client)
        client.post(reverse("mfa_authenticate"), {"code": f"00000{number}"})
        assert client.session["_auth_user_id"] == str(alice.pk)
        client.logout()


def test_a_right_password_that_is_asked_for_again_counts_nothing(client, account_policy, alice):
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    TOTP.activate(alice, generate_totp_secret())
    client.force_login(alice)
    for _ in range(5):
        answer = client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
        assert WORDS not in answer.content.decode()


def test_without_redis_nobody_guesses(account_policy, make_policy, redis_server):
    account_policy.without_redis = "closed"
    account_policy.save()
    attempts.admit("alice@example.org")
    redis_server.kill()
    with pytest.raises(ValidationError, match="just now"):
        attempts.admit("alice@example.org")
