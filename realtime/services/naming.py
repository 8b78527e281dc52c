"""Who is mentioned: the rows of a message's mentions follow its text, a moment after the commit."""

from collections.abc import Iterable

from django.db import transaction

from realtime import frames
from realtime.mentions import people_in
from realtime.models import Membership, Mention, Message

from .changing import tell

Members = dict[int, Membership]


def note_mentions(room_id: int, number: int, *, is_new: bool = False) -> None:
    """Bring the mentions of a message to what its row says now, and tell those for whom that is something unread.

    Members count who are named, its author left out. It may be called in any order, and again: only the row counts. Of
    one that `is_new` nobody is looked for whom it does not name: when it is changed, it is called for that, too.
    """
    with transaction.atomic():
        message = _locked(room_id, number)
        if message is None:
            return
        named = _named(message)
        noted = _noted(message, named if is_new else None)
        added = [named[pk] for pk in sorted(named.keys() - noted.keys())]
        removed = [noted[pk] for pk in sorted(noted.keys() - named.keys())]
        Mention.objects.bulk_create(Mention(membership=member, number=number) for member in added)
        Mention.objects.filter(membership__in=[member.pk for member in removed], number=number).delete()
        _tell(added, number, True)
        _tell(removed, number, False)


def _locked(room_id: int, number: int) -> Message | None:
    """Locked, and not its room: an edit, and whatever another consumer makes of that, come before this or after it."""
    rows = Message.objects.filter(room=room_id, number=number).only("room_id", "number", "author_id", "html")
    return rows.select_for_update(no_key=True).first()


def _named(message: Message) -> Members:
    people = set(people_in(message.html)) - {message.author_id}
    return _by_id(Membership.objects.filter(room=message.room_id, user__in=people)) if people else {}


def _noted(message: Message, among: Members | None) -> Members:
    """The members who have a row of this message; of all in the room without `among`."""
    members = Membership.objects.filter(room=message.room_id, mentions__number=message.number)
    if among is None:
        return _by_id(members)
    return _by_id(members.filter(pk__in=among)) if among else {}


def _by_id(members: Iterable[Membership]) -> Members:
    return {member.pk: member for member in members}


def _tell(members: Iterable[Membership], number: int, mentioned: bool) -> None:
    """On all their sockets. Who has read further has nothing to count."""
    for member in members:
        if number > member.last_read_number:
            tell(member.user_id, frames.mention(member.room_id, number, mentioned))
