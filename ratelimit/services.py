"""Writes that many rows share, and facts; what saves one row needs no more than to save it."""

from django.db import transaction
from django.db.models import QuerySet

from intellicolab.events.outbox import emit

from .book import changed
from .events import LimitExceeded
from .identity import Identity
from .models import Policy


def set_mode(policies: QuerySet[Policy], mode: Policy.Mode) -> int:
    """Have all of them enforced, counted or switched off from now on; how many there are."""
    with transaction.atomic():
        changed()
        return policies.update(mode=mode)


def forget_refusals() -> None:
    """Have all processes forget, within a second, whom they remember to be refused."""
    changed()


def tell_exceeded(policy_id: int, identity: Identity, refusals: int) -> None:
    """Make it a fact that somebody is refused again and again. Raises DatabaseError."""
    name = Policy.objects.filter(pk=policy_id).values_list("name", flat=True).first()
    emit(
        LimitExceeded(
            policy_id=policy_id,
            policy=name or f"policy {policy_id}",
            kind=identity.kind,
            who=_printable(identity.readable),
            refusals=refusals,
        )
    )


def _printable(name: str) -> str:
    """A client may have chosen it: no NUL, which PostgreSQL refuses, and nothing that turns a line of a log around."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)
