"""The list of open rooms: the same for everybody, so it is made once a minute, a little before anybody would wait.

A room that is made, renamed or archived shows at once; how many people are in it, and how often it was opened, may be
a minute old. Whether the reader is in a room is asked each time.
"""

import msgspec
from django.core.paginator import Paginator

from intellicolab.cache.declaration import Cached
from intellicolab.cache.strategies import RefreshAhead

from . import visits
from .models import Room

PAGE = 100  # rooms
DIRECTORY_TTL = 60.0  # seconds
STALE = 10 * 60.0  # seconds that an old list is served while the database does not answer

_ALL = "directory"  # the tag of all pages: a room that comes or goes moves the others


class Listed(msgspec.Struct, frozen=True):
    """An open room; `people` is how many are in it, `visits` how often one of them opened it."""

    id: int
    name: str
    topic: str
    people: int
    visits: int


class Page(msgspec.Struct, frozen=True):
    """One page of `pages`, the first of which is number 1."""

    rooms: tuple[Listed, ...]
    number: int
    pages: int


def _load(number: int) -> Page | None:
    """None beyond the last page; the first is there even where no room is."""
    rooms = Room.objects.directory().order_by("name")
    pages = Paginator(rooms.values_list("pk", "name", "topic", "people"), PAGE)
    if number not in pages.page_range:
        return None
    rows = list(pages.page(number))
    opened = visits.totals(pk for pk, *_ in rows)
    return Page(tuple(Listed(*row, opened[row[0]]) for row in rows), number, pages.num_pages)


_pages: Cached[Page] = Cached(
    "directory", "{number}", _load, ttl=DIRECTORY_TTL, type=Page, strategy=RefreshAhead(stale=STALE), tags=[_ALL]
)


def page(number: int) -> Page:
    """That page, or the nearest that there is."""
    first = _pages.get(1) or Page((), 1, 1)
    number = min(max(number, 1), first.pages)
    # Looked up only within the pages there are: or any number in an address would take a place in the cache.
    return (_pages.get(number) if number > 1 else None) or first


def forget_after_commit() -> None:
    """Have the next reader load the list anew, once the running transaction has committed."""
    _pages.invalidate_tag(_ALL)
