"""What chat does when something happens below it, in the same transaction."""

from typing import Any

from django.dispatch import receiver

from accounts.models import User
from accounts.signals import installed, joined

from . import services


@receiver(installed)
def make_first_room(user: User, **kwargs: Any) -> None:
    services.create_room(user, services.FIRST_ROOM_NAME, topic="Everything that has no room of its own")


@receiver(joined)
def join_first_room(user: User, **kwargs: Any) -> None:
    services.join_first_room(user)
