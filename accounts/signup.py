"""The sign-up form. It stands apart from the other forms because allauth's cannot be imported before the models."""

from typing import Any

from allauth.account import forms as allauth_forms
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from .forms import NameField, ZoneField
from .models import User
from .queries import INVITATION
from .services import InvitationSpent

INVITATION_SPENT = (
    "Your invitation was used up, was revoked or expired before you sent this form, so no account was made. "
    "Ask whoever sent it for a new one."
)
EMAIL_TAKEN = "There is already an account with this email address."


class SignupForm(allauth_forms.SignupForm):
    """allauth's email and password, our name and time zone, and all of it saved or nothing."""

    display_name = NameField(label="Your name")
    time_zone = ZoneField()
    field_order = ("display_name", "email", "password1", "time_zone")

    def try_save(self, request: HttpRequest) -> tuple[Any, HttpResponse | None]:
        """The new person, or the form once more with what stood in the way when it was saved."""
        try:
            person, response = super().try_save(request)
        except InvitationSpent:
            request.session.pop(INVITATION, None)
            return None, self._again(request, None, INVITATION_SPENT)
        except IntegrityError:
            if not User.objects.filter(email=self.cleaned_data["email"]).exists():
                raise
            return None, self._again(request, "email", EMAIL_TAKEN)
        if person:
            request.session.pop(INVITATION, None)
        return person, response

    def save(self, request: HttpRequest) -> AbstractBaseUser:
        # Hashed before the transaction: it takes tens of milliseconds, in which no one else could write.
        self.password_hash = make_password(self.cleaned_data["password1"])
        with transaction.atomic():
            return super().save(request)

    def _again(self, request: HttpRequest, field: str | None, error: str) -> HttpResponse:
        self.add_error(field, error)
        context = {"form": self, "login_url": reverse("account_login")}
        return render(request, "account/signup.html", context, status=409)
