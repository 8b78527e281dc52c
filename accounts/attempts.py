"""Attempts to sign in to one account, from wherever they come: passwords and one-time codes alike.

What succeeds is not counted, so that nobody shuts themselves out by signing in often. Whether there is such an account
makes no difference, so nobody learns that from a refusal.
"""

import math

from allauth.mfa.base import forms
from allauth.mfa.utils import is_mfa_enabled
from django.contrib.auth.signals import user_logged_in
from django.core.exceptions import ValidationError
from django.dispatch import receiver

from ratelimit import limits
from ratelimit.caller import Caller
from ratelimit.gate import Outcome

from .models import User

POLICY = "sign-in-account"


def admit(account: str) -> None:
    """Count an attempt to sign in to the account of an email address. Raises ValidationError for one too many."""
    outcome = limits.check(POLICY, _caller(account))
    if not outcome.admitted:
        raise ValidationError(_words(outcome), code="too_many_login_attempts")


def take_back(account: str) -> None:
    """It succeeded."""
    limits.refund(POLICY, _caller(account))


@receiver(user_logged_in)
def signed_in(user: User, **kwargs: object) -> None:
    """A right password that was followed by a code counted until now."""
    if is_mfa_enabled(user):
        take_back(user.email)


class _CountedCode:
    """A form with a one-time code: guesses are attempts, and one that is right is none."""

    user: User

    def clean_code(self) -> str:
        admit(self.user.email)
        code: str = super().clean_code()  # type: ignore[misc]
        take_back(self.user.email)
        return code


class AuthenticateForm(_CountedCode, forms.AuthenticateForm):
    pass


class ReauthenticateForm(_CountedCode, forms.ReauthenticateForm):
    pass


def _caller(account: str) -> Caller:
    return Caller(given=account.strip().casefold())


def _words(outcome: Outcome) -> str:
    seconds = outcome.retry_after
    if outcome.unanswered or seconds is None:
        return "Attempts to sign in can't be counted just now. Try again in a moment."
    minutes = math.ceil(seconds / 60)
    wait = f"{minutes} minutes" if minutes > 1 else f"{math.ceil(seconds)} seconds"
    return f"There were too many attempts to sign in to this account. Try again in {wait}."
