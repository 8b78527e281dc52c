"""What a parser reads from a log: things said, and lines that it could not make sense of."""

from dataclasses import dataclass
from datetime import datetime

from realtime.models import Message


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line as it stands in the file, without its end."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Said:
    """One message. `at` carries the time zone of the log."""

    line: int
    at: datetime
    nick: str
    text: str
    kind: str = Message.Kind.TEXT


@dataclass(frozen=True, slots=True)
class Unread:
    """A line that was left out, and why."""

    line: int
    text: str
    reason: str
