"""The welcome email: one a person, whichever facts call for it, and whoever is killed while it is sent.

Its Message-ID is made of the fact's id. Written to files, that is the file's name, so it may simply be written again.
A mail server takes an email once more and gladly, so there who was killed in the middle leaves a dead letter.
"""

from email.utils import format_datetime, parseaddr
from urllib.parse import urljoin

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives
from django.core.validators import validate_email
from django.template.loader import render_to_string
from django.urls import reverse

from intellicolab.events.groups import Group, declare, on
from intellicolab.events.handling import GiveUp, OutcomeUnknown
from intellicolab.mail.smtp import DeliveryUnknown, MailRefused

from . import queries, services
from .events import UserConfirmed, UserCreated
from .models import User

FILES = "intellicolab.mail.files.EmailBackend"

# One email at a time: a worker that is told to stop finishes what it has in hand.
declare(Group("email-service", outside=True, repeatable=settings.EMAIL_BACKEND == FILES, batch=1))


@on(UserCreated, group="email-service")
@on(UserConfirmed, group="email-service")
def welcome(event: UserCreated | UserConfirmed) -> None:
    """Send a person their welcome, if they may have one and it is not another fact's.

    Raises GiveUp for an address that takes no mail, OutcomeUnknown, and what a mail server that is away makes raise.
    """
    user = queries.to_welcome(event.user_id)
    if user is None or not services.claim_welcome(user.pk, event.id):
        return
    try:
        deliver(welcome_for(user, event))
    except GiveUp:
        services.release_welcome(event.id)
        raise


def deliver(message: EmailMultiAlternatives) -> None:
    """Send an email to one person, in the words of consumer groups. Raises GiveUp, OutcomeUnknown, or why it failed."""
    try:
        # Where no form has seen the address, it could be several, or bring lines of its own.
        validate_email(message.to[0])
        message.send()
    except (ValidationError, MailRefused) as error:
        raise GiveUp(f"{message.to[0]!r} takes no mail: {error}") from error
    except DeliveryUnknown as error:
        raise OutcomeUnknown(f"Nobody knows whether the email was sent. {error}") from error


def welcome_for(user: User, event: UserCreated | UserConfirmed) -> EmailMultiAlternatives:
    context = {"site_name": settings.SITE_NAME, "person": user, **_addresses()}
    message = EmailMultiAlternatives(
        " ".join(f"Welcome to {settings.SITE_NAME}".split()),
        render_to_string("accounts/email/welcome.txt", context),
        to=[user.email],
        headers={
            "Message-ID": f"<welcome.{event.id}@{_domain()}>",
            "Date": format_datetime(event.at),
            "Auto-Submitted": "auto-generated",  # no answers by those who are on holiday (RFC 3834)
        },
    )
    message.attach_alternative(render_to_string("accounts/email/welcome.html", context), "text/html")
    return message


def _addresses() -> dict[str, str]:
    """Of the pages to sign in and to choose a password; none where nobody has said what the site's address is."""
    if not settings.PUBLIC_URL:
        return {}
    pages = {"sign_in": "account_login", "reset": "account_reset_password"}
    return {name: urljoin(settings.PUBLIC_URL, reverse(page)) for name, page in pages.items()}


def _domain() -> str:
    return parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
