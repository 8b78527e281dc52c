"""A batch of entries handled by a group: effectively once for what it writes to the database."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.db import IntegrityError, transaction

from intellicolab.redis.codec import storable

from .groups import Group
from .models import DeadLetter, HandledEvent
from .schema import Event, UnknownEvent, UnreadableEvent, decode

logger = logging.getLogger("intellicolab.events")

NOT_WANTED = "It was replayed, but the group handles no events of this name any more."
UNKNOWN_OUTCOME = "A consumer was killed while it handled this: nobody knows whether it was done. Replay it to do it."


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream as a group gets it. `tries` counts this delivery, too."""

    position: int
    name: str
    version: int
    data: bytes
    tries: int = 1
    group: str = ""  # the only one that it is for


class OutcomeUnknown(Exception):
    """A handler of a group with effects outside cannot tell whether it has had them; it must not be called again."""


class GiveUp(Exception):
    """A handler knows that another try would end as this one did. Nothing was done."""


@dataclass(slots=True)
class Outcome:
    """What became of a batch: entries that are through, and those to be tried again."""

    through: list[Entry] = field(default_factory=list)
    again: list[Entry] = field(default_factory=list)


def handle(group: Group, stream: str, entries: Sequence[Entry]) -> Outcome:
    """Handle entries in their order. Raises DatabaseError when the database is away; then nothing was done."""
    batch = _Batch(group, stream)
    read = [(entry, event) for entry in entries if (event := batch.read(entry)) is not None]
    if group.outside:
        for entry, event in read:
            batch.do_outside(entry, event)
    elif read:
        _together(batch, read)
    batch.bury()
    return batch.outcome


def _together(batch: "_Batch", read: list[tuple[Entry, Event]]) -> None:
    """In one transaction; where that is refused as a whole, each in its own.

    Another consumer may have handled one of them at this moment, which the next try finds, or the database has refused
    at the commit what a handler wrote: foreign keys are looked at then.
    """
    try:
        batch.do_all(read)
    except IntegrityError:
        for one in read:
            batch.do_alone(one)


@dataclass(slots=True)
class _Batch:
    group: Group
    stream: str
    outcome: Outcome = field(default_factory=Outcome)
    dead: list[DeadLetter] = field(default_factory=list)

    def read(self, entry: Entry) -> Event | None:
        """The event, if a handler wants it; what cannot be read is given up."""
        if entry.group not in ("", self.group.name):  # replayed for another
            self.outcome.through.append(entry)
            return None
        if not self.group.wants(entry.name):
            self._pass_over(entry)
            return None
        try:
            event = decode(entry.name, entry.version, entry.data)
        except (UnknownEvent, UnreadableEvent) as error:
            self.give_up(entry, str(error))
            return None
        try:
            wanted = self.group.handlers_of(event)
        except Exception as error:  # a condition's own: like a handler's
            self.fail(entry, error)
            return None
        if wanted:
            return event
        self._pass_over(entry)
        return None

    def _pass_over(self, entry: Entry) -> None:
        """What no handler wants; but what somebody has replayed for this group must not vanish."""
        if entry.group:
            self.give_up(entry, NOT_WANTED)
        else:
            self.outcome.through.append(entry)

    def do_all(self, read: list[tuple[Entry, Event]]) -> None:
        with transaction.atomic():
            known = self._handled(event for _entry, event in read)
            fresh = {event.id: event for _entry, event in read if event.id not in known}  # each once
            failed = self._do_fresh(fresh.values())
            HandledEvent.objects.bulk_create(
                HandledEvent(group=self.group.name, event_id=event_id) for event_id in fresh if event_id not in failed
            )
        for entry, event in read:
            if event.id in failed:
                self.fail(entry, failed[event.id])
            else:
                self.outcome.through.append(entry)

    def _do_fresh(self, events: Iterable[Event]) -> dict[str, Exception]:
        """Those that have failed, by id. One savepoint is enough where none does: each costs as much as a row."""
        fresh = list(events)
        if len(fresh) > 1 and self._do(*fresh) is None:
            return {}
        return {event.id: error for event in fresh if (error := self._do(event)) is not None}

    def do_alone(self, one: tuple[Entry, Event]) -> None:
        try:
            self.do_all([one])
        except IntegrityError as error:
            self.fail(one[0], error)

    def _do(self, *events: Event) -> Exception | None:
        """All handlers of all, or none: what one has written is taken back with the others'."""
        try:
            with transaction.atomic():
                for event in events:
                    for handler in self.group.handlers_of(event):
                        handler(event)
        except Exception as error:  # a handler's own, which is tried again and told in the dead letter
            if transaction.get_connection().needs_rollback or not transaction.get_connection().is_usable():
                raise  # the database's, and so of the whole batch
            return error
        return None

    def do_outside(self, entry: Entry, event: Event) -> None:
        """Note that it begins, do it, note that it is done."""
        row, fresh = HandledEvent.objects.get_or_create(
            group=self.group.name, event_id=event.id, defaults={"done": False}
        )
        if row.done:
            self.outcome.through.append(entry)
        elif not fresh and not self.group.repeatable:
            self.give_up(entry, UNKNOWN_OUTCOME)
        else:
            self._call_outside(entry, event, row)

    def _call_outside(self, entry: Entry, event: Event, row: HandledEvent) -> None:
        try:
            for handler in self.group.handlers_of(event):
                handler(event)
        except OutcomeUnknown as error:
            self.give_up(entry, str(error) or UNKNOWN_OUTCOME)
        except Exception as error:  # a handler's own: it says that nothing was done
            row.delete()
            self.fail(entry, error)
        else:
            HandledEvent.objects.filter(pk=row.pk).update(done=True)
            self.outcome.through.append(entry)

    def fail(self, entry: Entry, error: Exception) -> None:
        logger.warning("%s: %s failed with %r", self.group.name, entry.name, error, exc_info=error)
        if isinstance(error, GiveUp) or entry.tries >= self.group.tries:
            self.give_up(entry, f"{type(error).__qualname__}: {error}")
        else:
            self.outcome.again.append(entry)

    def give_up(self, entry: Entry, reason: str) -> None:
        logger.error("%s gives up %s at %s %d: %s", self.group.name, entry.name, self.stream, entry.position, reason)
        self.dead.append(_letter(self.group, self.stream, entry, reason))
        self.outcome.through.append(entry)

    def bury(self) -> None:
        DeadLetter.objects.bulk_create(self.dead, ignore_conflicts=True)

    def _handled(self, events: Iterable[Event]) -> set[str]:
        wanted = [event.id for event in events]
        rows = HandledEvent.objects.filter(group=self.group.name, event_id__in=wanted)
        return set(rows.values_list("event_id", flat=True))


def _letter(group: Group, stream: str, entry: Entry, reason: str) -> DeadLetter:
    return DeadLetter(
        group=group.name,
        stream=stream,
        position=entry.position,
        name=entry.name,
        version=entry.version,
        data=storable(entry.data.decode(errors="replace")),
        reason=storable(reason[:10_000]),
        tries=entry.tries,
    )
