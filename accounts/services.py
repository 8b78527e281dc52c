"""Every write to accounts. What must happen together happens in one transaction, the receivers' part included."""

import logging
from collections.abc import Collection, Iterable
from functools import partial

from allauth.account.models import EmailAddress
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from intellicolab.events.outbox import emit

from . import avatars, devices, own_settings, profiles, queries, tiers
from .events import UserConfirmed, UserCreated, UserDeactivated, UserDeleted, UserReactivated, UserUpdated
from .models import Installation, Invitation, User, Welcome
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
            tell_confirmed(user.pk)
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
            before = own_settings.settings_in(row)
            row.display_name, row.bio, row.time_zone = display_name, bio, time_zone
            if stored or remove_picture:
                remove_after_commit(row.avatar.name or "")
                row.avatar.name = stored
            after = own_settings.write(row.pk, own_settings.settings_in(row))
            profiles.forget_after_commit(row.pk)
            tell_changed(row, own_settings.differing(before, after))
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
def set_active(people: Iterable[User], active: bool, by: User | None = None) -> int:
    """Let people sign in, or no longer, which ends their sessions after the commit. How many were changed.

    `by` is who decided it; None for a command.
    """
    chosen = [user.pk for user in people]
    changed = list(User.objects.select_for_update().filter(pk__in=chosen, is_active=not active).order_by("pk"))
    # A queryset's update sends no signal of a saved row, so what receivers.py does for those is done here.
    User.objects.filter(pk__in=[user.pk for user in changed]).update(is_active=active)
    profiles.forget_after_commit(*(user.pk for user in changed))
    tiers.forget_after_commit(user.pk for user in changed)
    for user in changed:
        user.is_active = active
        user.saved_by_id = by.pk if by else None
        tell_changed(user, ["is_active"])
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


@transaction.atomic
def save_changed(user: User, by: User) -> None:
    """Save what an administrator has changed about a person; with another address as by `set_email`."""
    user.saved_by_id = by.pk
    new_address = "email" in queries.changed_fields(user)
    user.save()
    if new_address:
        set_email(user, user.email)
    profile_saved(user)


def admit(user: User, by: User) -> None:
    """Save a person whom an administrator made, as if they had signed up."""
    user.saved_by_id = by.pk
    with transaction.atomic():
        user.save()
        if not user.is_placeholder:
            joined.send(sender=User, user=user)


@transaction.atomic
def delete_people(people: Iterable[User], by: User) -> None:
    """Delete accounts for good. Raises ProtectedError for who has written something."""
    for user in people:
        user.saved_by_id = by.pk
        user.delete()


def claim_welcome(user_id: int, event_id: str) -> bool:
    """Whether a person's one welcome email is to be sent for this fact: the first that asks, at each of its tries."""
    row, _made = Welcome.objects.get_or_create(user_id=user_id, defaults={"event_id": event_id})
    return row.event_id == event_id


def release_welcome(event_id: str) -> None:
    """The email was not sent and never will be for this fact; another may ask for it."""
    Welcome.objects.filter(event_id=event_id).delete()


# --- Facts ---------------------------------------------------------------------------------------------------------
# Written in the transaction of the change. The authors of imported messages are nobody that anything happens to.


def tell_created(user: User) -> None:
    if not user.is_placeholder:
        emit(UserCreated(user_id=user.pk, by_id=_taken_by(user)))


def tell_changed(user: User, fields: Collection[str]) -> None:
    """That these fields of the row have changed; one that lets in or shuts out is a fact of its own."""
    by_id = _taken_by(user)
    if user.is_placeholder:
        return
    others = [name for name in fields if name != "is_active"]
    if others:
        emit(UserUpdated(user_id=user.pk, fields=others, by_id=by_id))
    if "is_active" in fields:
        kind = UserReactivated if user.is_active else UserDeactivated
        emit(kind(user_id=user.pk, by_id=by_id))


def tell_deleted(user: User) -> None:
    by_id = _taken_by(user)
    if not user.is_placeholder:
        emit(UserDeleted(user_id=user.pk, display_name=user.display_name, by_id=by_id))


def tell_confirmed(user_id: int) -> None:
    emit(UserConfirmed(user_id=user_id))


def _taken_by(user: User) -> int | None:
    """Who changes this person; the next change by the same object is not theirs."""
    by_id, user.saved_by_id = user.saved_by_id, None
    return by_id
