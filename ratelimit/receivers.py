"""Every saved or deleted policy and exemption is told to all processes; so is a group that policies name.

Whoever is refused again and again becomes a fact.
"""

from typing import Any

from django.contrib.auth.models import Group
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from . import services
from .book import changed
from .identity import Identity
from .models import Exemption, Policy
from .signals import refused_repeatedly


@receiver([post_save, post_delete], sender=Policy)
@receiver([post_save, post_delete], sender=Exemption)
@receiver([post_save, post_delete], sender=Group)
def policies_changed(raw: bool = False, **kwargs: Any) -> None:
    changed()


@receiver(refused_repeatedly)
def tell_of_refusals(policy_id: int, identity: Identity, refusals: int, **kwargs: Any) -> None:
    """In a thread of the statistics, which logs what this raises while the database is away, and goes on."""
    services.tell_exceeded(policy_id, identity, refusals)
