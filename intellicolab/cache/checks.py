"""E010: a cached thing that is declared wrongly: found at start, for all at once, and not by the first reader."""

from collections import Counter
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register

from .declaration import Cached


@register(Tags.caches)
def declarations(**kwargs: Any) -> list[CheckMessage]:
    uses = Counter(thing.namespace for thing in Cached.declared)
    return [
        Error(
            f"The cached thing {thing.namespace!r} is declared wrongly: {problem}.",
            hint="docs/caching.md shows a declaration of each strategy.",
            id="intellicolab.E010",
        )
        for thing in Cached.declared
        for problem in [*thing.problems, *(["another has the same namespace"] if uses[thing.namespace] > 1 else [])]
    ]
