"""Whoever saves or deletes a person, the cached profile and the picture's file follow after the commit."""

from typing import Any

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from . import profiles, services
from .models import User


@receiver(post_save, sender=User)
def forget_saved_profile(instance: User, created: bool, update_fields: frozenset[str] | None, **kwargs: Any) -> None:
    """Of saves that name their fields only those that show: each sign-in saves `last_login`."""
    if update_fields is None or not update_fields.isdisjoint(profiles.FIELDS):
        profiles.forget_after_commit(instance.pk)


@receiver(post_delete, sender=User)
def forget_deleted_person(instance: User, **kwargs: Any) -> None:
    profiles.forget_after_commit(instance.pk)
    services.remove_after_commit(instance.avatar.name or "")
