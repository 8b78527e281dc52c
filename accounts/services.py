"""Every write to accounts. What must happen together happens in one transaction, the receivers' part included."""

import logging
from collections.abc import Iterable
from functools import partial

from allauth.account.models import EmailAddress
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from . import avatars, devices, own_settings, profiles, queries, tiers
from .models import Installation, Invitation, User
from .sessions import SessionUnavailable
from .signals import installed, joined, profile_changed

logger = logging.getLogger("accounts")


class AlreadySetUp(Exception):
    """The installation has its administrator."""


class InvitationSpent(Exception):
    """The invitation admits nobody any more: used up, revoked or expired."""


def set_up(*, email: str, display_name: str, password: str, time_zone: str) -> User:
    """Make the administrator and the installation. Raises AlreadySetUp, having changed nothing, if that was done."""
    user = User.objects.build_user(
        email, password, display_name=display_name, time_zone=time_zone, is_staff=True, is_superuser=True
    )
    try:
        with transaction.atomic():
            if queries.is_installed():
                raise AlreadySetUp
            user.save()
            # The primary key lets one of two simultaneous submissions through; the other is rolled back whole.
            Installation.objects.create(administrator=user)
            # Taken as confirmed: with mail set up wrongly, the only administrator would be locked out.
            EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=True)
            installed.send(sender=User, user=user)
            joined.send(sender=User, user=user)
    except IntegrityError as error:
        if queries.is_installed():
            raise AlreadySetUp from error
        raise
    return user


def sign_up(user: User, invitation_id: int | None) -> None:
    """Save a new person, who uses up one admission of an invitation; None where sign-up is open to all.

    Raises InvitationSpent when others were faster, IntegrityError when the email is taken; then nothing is changed.
    """
    with transaction.atomic():
        if invitation_id is not None:
            use_invitation(invitation_id)
        user.save()
        joined.send(sender=User, user=user)


def use_invitation(invitation_id: int) -> None:
    """Compare and swap: of two people with the last admission of a link, one gets a row changed and one none."""
    if not Invitation.objects.usable().filter(pk=invitation_id).update(uses=F("uses") + 1):
        raise InvitationSpent


def revoke_invitations(invitations: Iterable[Invitation]) -> int:
    """End these links now; how many were not ended before."""
    chosen = [invitation.pk for invitation in invitations]
    return Invitation.objects.filter(pk__in=chosen, revoked_at=None).update(revoked_at=timezone.now())


def update_profile(
    user: User,
    *,
    display_name: str,
    bio: str,
    time_zone: str,
    picture: bytes | None = None,
    remove_picture: bool = False,
) -> User:
    """Change a person's own profile and return the saved row. `picture` is what `avatars.clean_picture` made."""
    stored = avatars.store(picture) if picture else ""
    try:
        with transaction.atomic():
            # Locked, so that of two uploads at once the second sees, and removes, the first one's file.
            row = User.objects.select_for_update().get(pk=user.pk)
            row.display_name, row.bio, row.time_zone = display_name, bio, time_zone
            if stored or remove_picture:
                remove_after_commit(row.avatar.name or "")
                row.avatar.name = stored
            own_settings.write(row.pk, own_settings.settings_in(row))
            profiles.forget_after_commit(row.pk)
            profile_saved(row)
    except BaseException:  # whatever it was, the row does not refer to the new file
        avatars.remove(stored)
        raise
    return row


def remove_after_commit(name: str) -> None:
    """Delete a picture's file once nothing refers to it; a rollback keeps it."""
    transaction.on_commit(lambda: avatars.remove(name))


def profile_saved(user: User) -> None:
    """Tell the other apps that a profile has changed, inside the transaction that changes it."""
    profile_changed.send(sender=User, user=user)


@transaction.atomic
def set_active(people: Iterable[User], active: bool) -> int:
    """Let people sign in, or no longer, which ends their sessions after the commit. How many were changed."""
    chosen = [user.pk for user in people]
    changed = list(User.objects.select_for_update().filter(pk__in=chosen, is_active=not active).order_by("pk"))
    # A queryset's update sends no signal of a saved row, so what receivers.py does for those is done here.
    User.objects.filter(pk__in=[user.pk for user in changed]).update(is_active=active)
    profiles.forget_after_commit(*(user.pk for user in changed))
    tiers.forget_after_commit(user.pk for user in changed)
    for user in changed:
        user.is_active = active
        profile_saved(user)
        if not active:
            sign_out_after_commit(user.pk)
    return len(changed)


def sign_out_after_commit(user_id: int, keep: str | None = None) -> None:
    """End a person's sessions, but for `keep`, once the change that shuts them out has committed."""
    transaction.on_commit(partial(_sign_out, user_id, keep))


def _sign_out(user_id: int, keep: str | None) -> None:
    """The change is made and stays: during an outage it alone refuses those sessions, at their next request."""
    try:
        devices.end_all(user_id, keep)
    except SessionUnavailable as error:
        logger.warning("The sessions of person %d are not deleted, only refused: %s", user_id, error)


@transaction.atomic
def set_email(user: User, email: str) -> None:
    """Have a person sign in with another address, which they have yet to confirm where confirmation is asked for."""
    user.email = email.lower()
    user.save(update_fields=["email"])
    EmailAddress.objects.filter(user=user).delete()
    EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=False)


def admit(user: User) -> None:
    """Save a person whom an administrator made, as if they had signed up."""
    with transaction.atomic():
        user.save()
        if not user.is_placeholder:
            joined.send(sender=User, user=user)
