"""What a policy applies to: requests by path, route and method; frames of a socket by type."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve

# What a limit can be about. CONNECT is the opening of a socket, NAMED what the code asks for by a policy's name.
REQUEST, CONNECT, FRAME, NAMED = "request", "connect", "frame", "named"
UNKNOWN_FRAME = "unknown"

MOST_KEPT = 200  # characters of a path
_LONG = re.compile(r"[^/]{20,}")  # shorter than any key that nobody can guess


class Occasion(NamedTuple):
    """What somebody wants to do now: one of the four above, with what is known of it."""

    subject: str
    path: str = ""
    method: str = ""
    frame: str = ""
    name: str = ""
    route: str = ""  # where the path that it was found by is not kept

    @property
    def place(self) -> str:
        """For people: the frame, the method and path, or the name."""
        return self.frame or f"{self.method} {self.path}".strip() or self.name

    def without_secrets(self) -> "Occasion":
        """To be kept: what is long in a path may be the key of a link that was mailed to somebody."""
        route = self.route or (route_of(self.path) if self.path else "")
        return self._replace(method=self.method[:20], path=_LONG.sub("…", self.path)[:MOST_KEPT], route=route)


@dataclass(frozen=True, slots=True)
class Matcher:
    """Empty parts match all; what is given must match all of it."""

    path: re.Pattern[str] | None = None
    routes: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    frames: frozenset[str] = frozenset()
    name: str = ""

    @classmethod
    def of(cls, path: str = "", routes: str = "", methods: str = "", frames: str = "", name: str = "") -> "Matcher":
        """From the words of a policy, parted by spaces."""
        return cls(
            pattern(path.split()) if path.strip() else None,
            frozenset(routes.split()),
            frozenset(methods.upper().split()),
            frozenset(frames.split()),
            name,
        )

    def __call__(self, occasion: Occasion) -> bool:
        if self.name and occasion.name != self.name:
            return False
        if self.methods and occasion.method not in self.methods:
            return False
        if self.frames and occasion.frame not in self.frames:
            return False
        if self.path is not None and self.path.fullmatch(occasion.path) is None:
            return False
        return not self.routes or (occasion.route or route_of(occasion.path)) in self.routes


def pattern(globs: Iterable[str]) -> re.Pattern[str]:
    """`*` stands for anything between two slashes, `**` for anything."""
    return re.compile("|".join(_expression(glob) for glob in globs), re.DOTALL)


def _expression(glob: str) -> str:
    parts = re.split(r"(\*\*|\*)", glob)
    return "".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts)


@lru_cache(maxsize=1024)
def route_of(path: str) -> str:
    """The name of the route that a path leads to, with its namespace; empty for none."""
    try:
        return resolve(path).view_name
    except Resolver404:
        return ""


def routes() -> frozenset[str]:
    """The names of all routes of the site, as `route_of` has them."""
    return frozenset(_names(get_resolver().url_patterns, ""))


def _names(patterns: Iterable[URLPattern | URLResolver], prefix: str) -> Iterator[str]:
    for found in patterns:
        if isinstance(found, URLResolver):
            yield from _names(found.url_patterns, f"{prefix}{found.namespace}:" if found.namespace else prefix)
        elif found.name:
            yield prefix + found.name
