"""What the rest of the application asks about accounts."""

from collections.abc import Collection

from allauth.account.models import EmailAddress
from django.conf import settings
from django.http import HttpRequest

from .models import Installation, Invitation, User

# The session key under which an accepted invitation waits for its sign-up.
INVITATION = "invitation"

# Facts tell of changes to these fields of a person's row.
TOLD = ("display_name", "bio", "time_zone", "avatar", "email", "is_staff", "is_superuser", "is_active")


def is_installed() -> bool:
    """Whether the installation has an owner; imported messages alone, with their placeholder authors, make none."""
    return Installation.objects.exists() or User.objects.people().exists()


def invitation_of(request: HttpRequest) -> Invitation | None:
    """The invitation that this visitor came with, if it still admits anyone."""
    accepted = request.session.get(INVITATION)
    return Invitation.objects.usable().filter(pk=accepted).first() if accepted else None


def invitation_by_token(token: str) -> Invitation | None:
    """The invitation of a link, whatever its state; None for a token that was never given out."""
    return Invitation.objects.by_token(token).first()


def invitations() -> list[Invitation]:
    """The newest hundred, those still usable and those spent, with who made them."""
    return list(Invitation.objects.select_related("created_by")[:100])


def to_welcome(user_id: int) -> User | None:
    """The person, if a welcome email may go to them: not before the address is theirs where they have to confirm it."""
    user = User.objects.people().filter(pk=user_id, is_active=True).first()
    if user is None or settings.ACCOUNT_EMAIL_VERIFICATION != "mandatory":
        return user
    confirmed = EmailAddress.objects.filter(user=user, email=user.email, verified=True)
    return user if confirmed.exists() else None


def changed_fields(user: User, among: Collection[str] | None = None) -> tuple[str, ...]:
    """The fields that facts tell of in which a person, not yet saved, differs from their row.

    Within a transaction, in which the row stays locked: of two who make the same change, the second makes none.
    """
    deferred = user.get_deferred_fields()
    asked = [name for name in TOLD if name not in deferred and (among is None or name in among)]
    if user.pk is None or not asked:
        return ()
    stored = User.objects.select_for_update(no_key=True).filter(pk=user.pk).values(*asked).first() or {}
    return tuple(name for name in stored if stored[name] != _as_stored(user, name))


def _as_stored(user: User, name: str) -> object:
    field = User._meta.get_field(name)
    return field.get_prep_value(field.value_from_object(user))  # type: ignore[union-attr]
