"""Whoever saves or deletes a person or their groups: what is cached of them, picture file and sessions follow after
the commit."""

from collections.abc import Collection
from typing import Any

from allauth.account.models import EmailAddress
from allauth.account.signals import email_confirmed, password_reset
from allauth.core import context
from django.contrib.auth import logout
from django.contrib.auth.models import Group
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_delete, pre_save
from django.dispatch import receiver
from django.http import HttpRequest

from . import own_settings, profiles, queries, services, tiers
from .models import User


@receiver(post_save, sender=User)
def forget_saved_person(instance: User, update_fields: frozenset[str] | None, **kwargs: Any) -> None:
    """Of saves that name their fields only those that show: each sign-in saves `last_login`."""

    def touches(fields: Collection[str]) -> bool:
        return update_fields is None or not update_fields.isdisjoint(fields)

    if touches(profiles.FIELDS):
        profiles.forget_after_commit(instance.pk)
    if touches(own_settings.FIELDS):
        own_settings.forget_after_commit(instance.pk)
    if touches(tiers.FIELDS):
        tiers.forget_after_commit([instance.pk])


@receiver(m2m_changed, sender=User.groups.through)
def forget_tier_of_a_new_group(
    instance: User | Group, action: str, reverse: bool, pk_set: set[int] | None, **kwargs: Any
) -> None:
    """From either side; only before a group is emptied can its people still be named."""
    if isinstance(instance, User):
        tiers.forget_after_commit([instance.pk])
    elif action == "pre_clear":
        forget_tiers_of_a_group(instance)
    elif pk_set:
        tiers.forget_after_commit(pk_set)


@receiver([post_save, pre_delete], sender=Group)
def forget_tiers_of_a_group(instance: Group, **kwargs: Any) -> None:
    """It has another name now, or none: its people's rows go with it, without a signal."""
    tiers.forget_after_commit(User.objects.filter(groups=instance).values_list("pk", flat=True))


@receiver(post_delete, sender=User)
def forget_deleted_person(instance: User, **kwargs: Any) -> None:
    profiles.forget_after_commit(instance.pk)
    own_settings.forget_after_commit(instance.pk)
    tiers.forget_after_commit([instance.pk])
    services.remove_after_commit(instance.avatar.name or "")
    services.sign_out_after_commit(instance.pk)


@receiver(pre_save, sender=User)
def notice_new_password(instance: User, update_fields: frozenset[str] | None, **kwargs: Any) -> None:
    """By the stored value: a password is also set, and taken away, by forms of Django's and by commands."""
    instance.replaces_password = (
        instance.pk is not None
        and (update_fields is None or "password" in update_fields)
        and User.objects.filter(pk=instance.pk).exclude(password=instance.password).exists()
    )


@receiver(pre_save, sender=User)
def notice_changes(instance: User, raw: bool, update_fields: frozenset[str] | None, **kwargs: Any) -> None:
    """By the stored values: people are also changed by allauth's pages, by forms of Django's and by commands."""
    instance.changed_fields = () if raw else queries.changed_fields(instance, update_fields)


@receiver(post_save, sender=User)
def tell_of_saved_person(instance: User, created: bool, raw: bool, **kwargs: Any) -> None:
    """`raw` is a fixture, in which nothing happens to anybody."""
    if raw:
        return
    if created:
        services.tell_created(instance)
    else:
        services.tell_changed(instance, instance.changed_fields)


@receiver(post_delete, sender=User)
def tell_of_deleted_person(instance: User, **kwargs: Any) -> None:
    services.tell_deleted(instance)


@receiver(email_confirmed)
def tell_of_confirmed_address(email_address: EmailAddress, **kwargs: Any) -> None:
    """Both who send this signal, the page and the admin's action, do it within the transaction of the change."""
    services.tell_confirmed(email_address.user_id)


@receiver(post_save, sender=User)
def end_sessions_of_who_is_shut_out(instance: User, update_fields: frozenset[str] | None, **kwargs: Any) -> None:
    if instance.replaces_password:
        services.sign_out_after_commit(instance.pk, keep=own_session(instance.pk))
    elif not instance.is_active and (update_fields is None or "is_active" in update_fields):
        services.sign_out_after_commit(instance.pk)


@receiver(password_reset)
def end_session_of_a_reset(request: HttpRequest, user: User, **kwargs: Any) -> None:
    """Who had to reset their password asks in no session that they may keep, were it even their own."""
    if request.session.user_id == user.pk:  # type: ignore[attr-defined]
        logout(request)


def own_session(user_id: int) -> str | None:
    """The session in which this person themselves asks for the change.

    The view gives it another key right after (`update_session_auth_hash`), so that a copy of the cookie is worth
    nothing; ended here, its other tabs would be sent to sign in again.
    """
    session = getattr(context.request, "session", None)
    return session.hash if session is not None and session.user_id == user_id else None
