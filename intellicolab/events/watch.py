"""The watch: of all workers one says in its log what is wrong, once when it begins and once when it is over."""

import logging
from collections.abc import Callable, Iterable

from intellicolab.redis.lock import Grant, Lock
from intellicolab.redis.sole import SoleService

from .problems import Problem

logger = logging.getLogger("intellicolab.events")

lock = Lock("watch", lease=15.0, wait=2.0, purpose="the watch over streams")


class Watch(SoleService):
    """Looks twice a minute at each source of problems, such as `problems.found`."""

    title = "The watch"
    interval = 30.0

    def __init__(self, *sources: Callable[[], Iterable[Problem]]) -> None:
        super().__init__(lock)
        self._sources = sources
        self._told: dict[str, str] = {}

    def begin(self) -> None:
        """Whoever starts together with this one is not there yet."""
        self.rest()

    def round(self, grant: Grant) -> None:
        if self._stop.is_set():
            return  # others are stopping as well
        found = {problem.key: problem.sentence for source in self._sources for problem in source()}
        for key in sorted(found.keys() - self._told.keys()):
            logger.warning("%s", found[key])
        for key in sorted(self._told.keys() - found.keys()):
            logger.info("No longer: %s", self._told[key])
        self._told = found
