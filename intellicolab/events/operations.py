"""What an administrator does to events: dead letters are replayed or discarded, groups paused and resumed."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec
from django.db import transaction
from django.utils import timezone

from intellicolab.redis import codec

from .groups import groups, named
from .models import DeadLetter, HandledEvent, Pause
from .outbox import NewRow, insert
from .schema import EventId

BATCH = 500  # letters in one transaction


class _Identified(msgspec.Struct):
    """Any event's data, as far as it must be known here."""

    id: EventId


def replay(pks: Sequence[int]) -> list[int]:
    """Give events once more to the group that has given them up; the letters that went.

    Each goes back into its stream, addressed to that group alone. The letter goes, the row in the outbox comes and the
    mark of an attempt whose outcome nobody knows is wiped off in one transaction: whatever dies, there is either the
    letter or its successor. Two who replay the same letter at once replay it once. Letters of a group that is not
    declared here stay, because nobody might ever read what is addressed to it.
    """
    gone: list[int] = []
    for batch in _batches(pks):
        with transaction.atomic():
            letters = [letter for letter in _locked(batch) if is_replayable(letter)]
            HandledEvent.objects.filter(pk__in=[mark.pk for mark in _attempts(letters)]).delete()
            insert(map(_row, letters))
            DeadLetter.objects.filter(pk__in=[letter.pk for letter in letters]).delete()
        gone += [letter.pk for letter in letters]
    return gone


def discard(pks: Sequence[int]) -> list[int]:
    """Drop letters for good; those that went. An outage that brings such an event once more finds it handled."""
    gone: list[int] = []
    for batch in _batches(pks):
        with transaction.atomic():
            letters = _locked(batch)
            handled = {(letter.group, found) for letter in letters if (found := _event_id(letter)) is not None}
            HandledEvent.objects.bulk_create(
                [HandledEvent(group=group, event_id=event_id) for group, event_id in sorted(handled)],
                update_conflicts=True,
                unique_fields=["group", "event_id"],
                update_fields=["done"],
            )
            DeadLetter.objects.filter(pk__in=[letter.pk for letter in letters]).delete()
        gone += [letter.pk for letter in letters]
    return gone


def is_replayable(letter: DeadLetter) -> bool:
    """Whether its group reads that stream in this version of the code."""
    return any(group.name == letter.group and letter.stream in group.streams for group in groups())


def uncertain(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    """Those whose effect outside of the database may have happened, so that a replay may repeat it."""
    chosen = list(letters)
    harmless = {group.name for group in groups() if group.repeatable}
    begun = {(mark.group, mark.event_id) for mark in _attempts(chosen) if mark.group not in harmless}
    return [letter for letter in chosen if (letter.group, _event_id(letter)) in begun]


def pause(group: str, by: str) -> bool:
    """Have a group take nothing more until it is resumed; False when it is paused already.

    `by` is shown to other administrators. Raises LookupError for a group that is not declared.
    """
    named([group])
    return Pause.objects.get_or_create(group=group, defaults={"by": by})[1]


def resume(group: str) -> bool:
    """Let it go on, within a second; False when it was not paused."""
    return bool(Pause.objects.filter(group=group).delete()[0])


def _batches(pks: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(pks), BATCH):
        yield pks[start : start + BATCH]


def _locked(pks: Sequence[int]) -> list[DeadLetter]:
    return list(DeadLetter.objects.select_for_update().filter(pk__in=pks).order_by("stream", "position", "pk"))


def _attempts(letters: Iterable[DeadLetter]) -> list[HandledEvent]:
    """The marks that a group has begun with them, and not ended."""
    wanted = {(letter.group, _event_id(letter)) for letter in letters}
    begun = HandledEvent.objects.filter(done=False, event_id__in={event_id for _group, event_id in wanted if event_id})
    return [mark for mark in begun if (mark.group, mark.event_id) in wanted]


def _row(letter: DeadLetter) -> NewRow:
    return NewRow(letter.stream, letter.name, letter.version, letter.data, timezone.now(), letter.group)


def _event_id(letter: DeadLetter) -> str | None:
    """None where not even that can be read."""
    try:
        return msgspec.json.decode(letter.data, type=_Identified).id
    except codec.UNREADABLE:
        return None
