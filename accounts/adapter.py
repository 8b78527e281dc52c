"""How allauth's pages work on our accounts."""

from types import SimpleNamespace
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from . import attempts, queries, services
from .models import User
from .signup import SignupForm


class AccountAdapter(DefaultAccountAdapter):
    """allauth's account flows, with invitations, placeholders and client addresses as the rest of the site has them."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return settings.SIGNUP == "open" or queries.invitation_of(request) is not None

    def save_user(self, request: HttpRequest, user: User, form: SignupForm, commit: bool = True) -> AbstractBaseUser:
        """Raises InvitationSpent and IntegrityError, which the form turns into words."""
        data = form.cleaned_data
        user.email = data["email"]
        user.display_name = data["display_name"]
        user.time_zone = data["time_zone"]
        user.password = form.password_hash
        invitation = None if settings.SIGNUP == "open" else request.session.get(queries.INVITATION, 0)
        services.sign_up(user, invitation)
        return user

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """In place of allauth's own limit. Raises ValidationError."""
        if "email" in credentials:
            attempts.admit(credentials["email"])

    def authenticate(self, request: HttpRequest, **credentials: Any) -> AbstractBaseUser | None:
        """A right password is no attempt; who has to give a code as well is not in yet."""
        user = super().authenticate(request, **credentials)
        if user is not None and "email" in credentials and not is_mfa_enabled(user):
            attempts.take_back(credentials["email"])
        return user

    def reauthenticate(self, user: User, password: str) -> bool:
        """Who is in already gives no code after it."""
        right: bool = super().reauthenticate(user, password)
        if right and is_mfa_enabled(user):
            attempts.take_back(user.email)
        return right

    def pre_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse | None:
        """Every way of signing in comes through here; allauth itself asks for `is_active` only."""
        if user.is_placeholder:
            return self.respond_user_inactive(request, user)
        return super().pre_login(request, user, **kwargs)

    def send_password_reset_mail(self, user: User, email: str, context: dict[str, Any]) -> None:
        """Not to the author of imported messages, who has no account to get back to."""
        if not user.is_placeholder:
            super().send_password_reset_mail(user, email, context)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Mail is signed with the installation's name; allauth would sign it with a host name."""
        address = settings.PUBLIC_URL or self.request.build_absolute_uri("/").rstrip("/")
        site = SimpleNamespace(name=settings.SITE_NAME, domain=address)
        super().send_mail(template_prefix, email, {"current_site": site, **context})

    def confirm_email(self, request: HttpRequest, email_address: Any) -> bool:
        """In one transaction, to which the fact belongs."""
        with transaction.atomic():
            confirmed: bool = super().confirm_email(request, email_address)
        return confirmed

    def get_client_ip(self, request: HttpRequest) -> str:
        """The address that the proxies' wrapper has settled; no header is read a second time."""
        return request.META.get("REMOTE_ADDR", "")
