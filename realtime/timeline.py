"""How a run of messages is laid out: where a day begins, and which messages need no name of their own."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

GROUP = timedelta(minutes=5)  # as in timeline.js


@dataclass(frozen=True, slots=True)
class Line:
    """One message and its place: `day` where a new day begins, `is_head` where the author is named."""

    message: dict[str, Any]
    when: datetime
    day: date | None
    is_head: bool


def lines(messages: Iterable[dict[str, Any]], zone: tzinfo) -> list[Line]:
    """Messages in order, as JSON shows them, laid out in the reader's time zone."""
    result: list[Line] = []
    for message in messages:
        when = datetime.fromisoformat(message["time"]).astimezone(zone)
        before = result[-1] if result else None
        new_day = before is None or before.when.date() != when.date()
        head = new_day or before is None or not _continues(before, message, when)
        result.append(Line(message, when, when.date() if new_day else None, head))
    return result


def _continues(before: Line, message: dict[str, Any], when: datetime) -> bool:
    same_person = before.message["author"]["id"] == message["author"]["id"]
    both_text = before.message["kind"] == message["kind"] == "text"
    return same_person and both_text and timedelta(0) <= when - before.when <= GROUP
