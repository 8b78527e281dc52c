"""What the rest of the application asks about accounts."""

from django.http import HttpRequest

from .models import Installation, Invitation, User

# The session key under which an accepted invitation waits for its sign-up.
INVITATION = "invitation"


def is_installed() -> bool:
    """Whether the installation has an owner; imported messages alone, with their placeholder authors, make none."""
    return Installation.objects.exists() or User.objects.people().exists()


def invitation_of(request: HttpRequest) -> Invitation | None:
    """The invitation that this visitor came with, if it still admits anyone."""
    accepted = request.session.get(INVITATION)
    return Invitation.objects.usable().filter(pk=accepted).first() if accepted else None


def invitation_by_token(token: str) -> Invitation | None:
    """The invitation of a link, whatever its state; None for a token that was never given out."""
    return Invitation.objects.by_token(token).first()


def invitations() -> list[Invitation]:
    """The newest hundred, those still usable and those spent, with who made them."""
    return list(Invitation.objects.select_related("created_by")[:100])
