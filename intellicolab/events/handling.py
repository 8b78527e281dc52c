"""A batch of entries handled by a group: effectively once for what it writes to the database."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.db import IntegrityError, transaction

from .groups import Group
from .models import DeadLetter, HandledEvent
from .schema import Event, UnknownEvent, UnreadableEvent, decode

logger = logging.getLogger("intellicolab.events")

UNKNOWN_OUTCOME = "A consumer was killed while it handled this: nobody knows whether it was done. Replay it to do it."


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream as a group gets it. `tries` counts this delivery, too."""

    position: int
    name: str
    version: int
    data: bytes
    tries: int = 1


class OutcomeUnknown(Exception):
    """A handler of a group with effects outside cannot tell whether it has had them; it must not be called again."""


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
        """The event, if the group handles its kind; what cannot be read is given up."""
        if not self.group.wants(entry.name):
            self.outcome.through.append(entry)
            return None
        try:
            return decode(entry.name, entry.version, entry.data)
        except (UnknownEvent, UnreadableEvent) as error:
            self.give_up(entry, str(error))
            return None

    def do_all(self, read: list[tuple[Entry, Event]]) -> None:
        through, failed = [], []
        with transaction.atomic():
            handled = self._handled(event for _entry, event in read)
            done: list[HandledEvent] = []
            for entry, event in read:
                error = None if event.id in handled else self._do(event)
                if error is not None:
                    failed.append((entry, error))
                    continue
                through.append(entry)
                if event.id not in handled:
                    handled.add(event.id)
                    done.append(HandledEvent(group=self.group.name, event_id=event.id))
            HandledEvent.objects.bulk_create(done)
        self.outcome.through += through
        for entry, error in failed:
            self.fail(entry, error)

    def do_alone(self, one: tuple[Entry, Event]) -> None:
        try:
            self.do_all([one])
        except IntegrityError as error:
            self.fail(one[0], error)

    def _do(self, event: Event) -> Exception | None:
        """All handlers, or none: what one has written is taken back with the others'."""
        try:
            with transaction.atomic():
                for handler in self.group.handlers_of(event.name, event.version):
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
            for handler in self.group.handlers_of(event.name, event.version):
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
        if entry.tries >= self.group.tries:
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
        data=entry.data.decode(errors="replace").replace("\0", ""),
        reason=reason[:10_000],
        tries=entry.tries,
    )
