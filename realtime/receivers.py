"""What chat does when something happens below it, where that is a write to the database in the same transaction."""

from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver

from accounts.models import User
from accounts.signals import installed, joined, sessions_ended

from . import services
from .errors import RENEWED, SIGNED_OUT
from .exporting import files
from .models import Export
from .publisher import publisher


@receiver(installed)
def make_first_room(user: User, **kwargs: Any) -> None:
    services.create_room(user, services.FIRST_ROOM_NAME, topic="Everything that has no room of its own")


@receiver(joined)
def join_first_room(user: User, **kwargs: Any) -> None:
    services.join_first_room(user)


@receiver(sessions_ended)
def close_sockets(user_id: int, sessions: list[str], renewed: bool, **kwargs: Any) -> None:
    publisher.publish_ended(user_id, sessions, RENEWED if renewed else SIGNED_OUT)


@receiver(post_delete, sender=Export)
def remove_files_of_export(instance: Export, **kwargs: Any) -> None:
    """However the row goes, with its membership, its room or its person too; a rollback keeps them."""
    transaction.on_commit(lambda: files.remove_all(instance.job_id, instance.file))
