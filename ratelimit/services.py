"""Writes that many rows share; what saves one row needs no more than to save it."""

from django.db import transaction
from django.db.models import QuerySet

from .book import changed
from .models import Policy


def set_mode(policies: QuerySet[Policy], mode: Policy.Mode) -> int:
    """Have all of them enforced, counted or switched off from now on; how many there are."""
    with transaction.atomic():
        changed()
        return policies.update(mode=mode)


def forget_refusals() -> None:
    """Have all processes forget, within a second, whom they remember to be refused."""
    changed()
