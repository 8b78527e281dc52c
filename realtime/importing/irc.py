"""IRC logs: `[HH:MM] <nick> text`, and `[HH:MM]  * nick text` for an action.

Lines carry no date: the log's first day is given, and a clock that jumps back has passed midnight.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta, tzinfo

from realtime.models import Message

from .records import Said, SourceLine, Unread

_TIME = r"\[(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d)\]"
# A sign before the nick is its owner's mode in the channel (RFC 2812, section 5.1), not part of the name.
_TEXT = re.compile(_TIME + r" <[ @+%&~]?(?P<nick>[^<>\s]+) ?> ?(?P<text>.*)", re.DOTALL)
_ACTION = re.compile(_TIME + r" {1,2}\* (?P<nick>\S+)(?: (?P<text>.*))?", re.DOTALL)
# Colours and emphasis of IRC clients: control characters that nobody typed to be read.
_FORMATTING = re.compile(r"\x03(?:\d{1,2}(?:,\d{1,2})?)?|[\x02\x0f\x11\x16\x1d\x1e\x1f]")
# Clocks are set back by minutes, or an hour at the end of summer time; further back is a new day.
_CLOCK_SET_BACK = timedelta(minutes=60)
_CASE = str.maketrans("[]\\~", "{}|^")


def parse(lines: Iterable[SourceLine], first_day: date, zone: tzinfo) -> Iterator[Said | Unread]:
    """Each line as something said or as unread, in order; blank lines are nothing."""
    now = datetime.combine(first_day, time.min)
    for line in lines:
        if not line.text.strip():
            continue
        match = _TEXT.fullmatch(line.text) or _ACTION.fullmatch(line.text)
        if match is None:
            yield Unread(line.number, line.text, "it does not begin with a time and a nick")
            continue
        now = _next(now, int(match["hour"]), int(match["minute"]))
        yield _said(line, match, now.replace(tzinfo=zone))


def fold(nick: str) -> str:
    """The nick as IRC servers compare it: without case, where {}|^ are the small letters of []\\~ (RFC 2812, 2.2)."""
    return nick.lower().translate(_CASE)


def _next(before: datetime, hour: int, minute: int) -> datetime:
    now = before.replace(hour=hour, minute=minute)
    return now + timedelta(days=1) if before - now > _CLOCK_SET_BACK else now


def _said(line: SourceLine, match: re.Match[str], at: datetime) -> Said | Unread:
    text = _FORMATTING.sub("", match["text"] or "")
    if not text.strip():
        return Unread(line.number, line.text, "it says nothing")
    kind = Message.Kind.ACTION if match.re is _ACTION else Message.Kind.TEXT
    return Said(line.number, at, match["nick"], text, kind)
