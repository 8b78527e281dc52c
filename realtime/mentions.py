"""Whom messages name: `@Alice` for whoever is called that.

The names are looked up before a message is rendered; the HTML then says who is meant, and only those of them who are
members of its room are told (`services/naming.py`).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from django.db.models import Q
from django.db.models.functions import Lower

from accounts.models import User

MOST_WORDS = 4  # of a name; each further one makes one more name to look up
MOST_NAMES = 100  # looked up for one message, the first ones; who writes more @ than that means no people
AT_ONCE = 500  # names in one query

# Not after a letter or digit: that is an email address.
_AT = re.compile(r"(?<![\w@])@(?=\w)([^\n@]{1,200})")
# With the bracket, which stands in no text: there it is escaped, while quotes are not.
_IN_HTML = re.compile(r'<span class="mention" data-person="([\d ]+)">')

# {name in lower case: ids of the people who are called that}
Named = Mapping[str, Sequence[int]]


def named_in(texts: Iterable[str]) -> Named:
    """The people whose names stand after an `@`; no query where there is none."""
    names = sorted({name for text in texts if "@" in text for name in islice(_names(text), MOST_NAMES)})
    found: dict[str, list[int]] = defaultdict(list)
    for start in range(0, len(names), AT_ONCE):
        for user_id, name in _called(names[start : start + AT_ONCE]):
            found[name.lower()].append(user_id)
    return found


def _called(names: Sequence[str]) -> Iterable[tuple[int, str]]:
    """(id, name) of the people who are called one of these."""
    # Some databases lower only ASCII, so a name as it was typed counts as well.
    called = Q(display_name__in=names) | Q(lowered__in=[name.lower() for name in names])
    people = User.objects.annotate(lowered=Lower("display_name")).filter(called, is_active=True, is_placeholder=False)
    return people.order_by("pk").values_list("pk", "display_name")


def _names(text: str) -> Iterator[str]:
    """Every name that could stand there: the first word after an `@`, the first two, and so on."""
    for match in _AT.finditer(text):
        words = match[1].split(" ")[:MOST_WORDS]
        for count in range(1, len(words) + 1):
            yield re.sub(r"\W+$", "", " ".join(words[:count]))


def name_at(text: str, start: int, named: Named) -> str:
    """The longest of these names that stands behind the `@` at `start`, as it is written there; "" if there is none."""
    if start and (text[start - 1].isalnum() or text[start - 1] in "@_"):
        return ""
    after = text[start + 1 :]
    longest = max((name for name in named if _begins_with(after, name)), key=len, default="")
    return after[: len(longest)]


def _begins_with(text: str, name: str) -> bool:
    return text[: len(name)].lower() == name and not text[len(name) : len(name) + 1].isalnum()


def people_in(html: str) -> list[int]:
    """The ids of those whom a rendered message names."""
    if "data-person" not in html:
        return []
    return sorted({int(user_id) for ids in _IN_HTML.findall(html) for user_id in ids.split()})


def names_others(html: str, author_id: int) -> bool:
    """Whether a rendered message names anybody but its author."""
    return any(user_id != author_id for user_id in people_in(html))
