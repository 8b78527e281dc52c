"""A limit as people write it: "100/min", "5/s", "1000/15 min", and for what is held at the same time just "20"."""

import re
from typing import NamedTuple

_UNITS = {
    1: ("s", "sec", "second", "seconds"),
    60: ("m", "min", "minute", "minutes"),
    3600: ("h", "hour", "hours"),
    86_400: ("d", "day", "days"),
}
SECONDS = {name: seconds for seconds, names in _UNITS.items() for name in names}
_PATTERN = re.compile(r"(?P<limit>\d{1,12})\s*/\s*(?P<count>\d{1,6})?\s*(?P<unit>[a-z]+)", re.ASCII)

LONGEST = 31 * 86_400  # seconds


class Rate(NamedTuple):
    limit: int
    seconds: int


def parse(text: str) -> Rate:
    """Raises ValueError, which says what is wrong."""
    found = _PATTERN.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError("Write a number and a time, such as 100/min, 5/s or 1000/15 min.")
    seconds = SECONDS.get(found["unit"])
    if seconds is None:
        raise ValueError(f"{found['unit']!r} is no unit of time: use s, min, hour or day.")
    rate = Rate(int(found["limit"]), int(found["count"] or 1) * seconds)
    if rate.limit < 1 or rate.seconds < 1:
        raise ValueError("A limit must admit at least one request in at least a second; use the deny list for none.")
    if rate.seconds > LONGEST:
        raise ValueError("The longest time is 31 days.")
    return rate


def parse_count(text: str) -> int:
    """Of a limit on what is held at the same time. Raises ValueError."""
    if not re.fullmatch(r"\d{1,9}", text.strip()) or int(text) < 1:
        raise ValueError("Write how many may be held at the same time: a number, such as 20, without a time.")
    return int(text)
