"""The formats that can be imported, by the name that `--format` takes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, tzinfo

from . import irc
from .records import Said, SourceLine, Unread


@dataclass(frozen=True, slots=True)
class Format:
    """How to read a log. `domain` keeps its authors apart from those of other formats; `fold` makes equal nicks equal.

    The domain ends in .invalid (RFC 2606), so no placeholder's address can ever receive mail.
    """

    name: str
    domain: str
    parse: Callable[[Iterable[SourceLine], date, tzinfo], Iterator[Said | Unread]]
    fold: Callable[[str], str]


FORMATS = {log.name: log for log in [Format("irc", "irc.invalid", irc.parse, irc.fold)]}
