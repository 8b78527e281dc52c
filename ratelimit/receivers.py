"""Every saved or deleted policy and exemption is told to all processes; so is a group that policies name."""

from typing import Any

from django.contrib.auth.models import Group
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from .book import changed
from .models import Exemption, Policy


@receiver([post_save, post_delete], sender=Policy)
@receiver([post_save, post_delete], sender=Exemption)
@receiver([post_save, post_delete], sender=Group)
def policies_changed(raw: bool = False, **kwargs: Any) -> None:
    changed()
