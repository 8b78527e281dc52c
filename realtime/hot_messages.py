"""The newest messages of rooms in Redis: a sorted set a room, by number, with the version that they stand for.

The version lies in the set itself: what evicts or loses the one takes the other along. A message is kept as its frame
has it, but for its author, of whom only the id is kept, since names and pictures change without a version.

Nothing here raises for what Redis does not take: it is left to the next reader.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from redis.exceptions import RedisError

from intellicolab.redis import keys
from intellicolab.redis.breaker import Breaker
from intellicolab.redis.client import Purpose, Role, client
from intellicolab.redis.codec import encode
from intellicolab.redis.scripts import Argument, Run, Script, load

logger = logging.getLogger("realtime")

KEEP = 200  # messages a room: four pages
MOST_BYTES = 32 * 1024  # a message; with KEEP a bound for a room. News of a larger one is not kept, nor a page with it
NOTHING = -1  # the version of a history that is not there

Content = dict[str, Any]

_HERE = Path(__file__).resolve().parent
_read, _fill, _extend, _append = (load(_HERE, f"history_{name}") for name in ("read", "fill", "extend", "append"))
_decoder = msgspec.json.Decoder(dict[str, Any])

breaker = Breaker("Hot history", "pages are read from the database")


class Away(Exception):
    """Redis does not answer; the database has to."""


@dataclass(frozen=True, slots=True)
class Hot:
    """What was found of a room: messages by number, each with its author's id as `author`."""

    version: int = NOTHING
    messages: dict[int, Content] = field(default_factory=dict)


def read(room_id: int, first: int, last: int) -> Hot:
    """What is kept of the messages with these numbers. Raises Away, within 50 ms or at once."""
    answer = _ask(_read, room_id, [first, last])
    try:
        contents = [_decoder.decode(data) for data in answer[1:]]
        return Hot(int(answer[0]), {content["number"]: content for content in contents}) if answer else Hot()
    except (msgspec.DecodeError, ValueError, KeyError) as error:
        logger.warning("The history of room %d in Redis is not ours: %s", room_id, error)
        return Hot()


def fill(room_id: int, version: int, newest: Sequence[Content]) -> None:
    """Keep a room's newest messages, read after its version was; never in the place of a later version."""
    _offer(_fill, room_id, [version, keys.HISTORY_TTL], newest)


def extend(room_id: int, version: int, older: Sequence[Content]) -> None:
    """Keep the messages just below those that are there, if these stand for the version that was read before them."""
    _offer(_extend, room_id, [version, KEEP], older)


def append(room_id: int, first: int, last: int, changed: Sequence[Content]) -> None:
    """Keep what the versions `first` to `last` changed, if what is there has the versions before them."""
    _offer(_append, room_id, [first, last, KEEP], changed)


def appending(room_id: int, first: int, last: int, changed: Sequence[Content]) -> Run | None:
    """The call of `append`, for a pipeline; None where a message is too large to be kept."""
    found = _pairs(changed)
    return None if found is None else Run(_append, [keys.history(room_id)], [first, last, KEEP, *found])


def _offer(script: Script, room_id: int, about: list[Argument], contents: Sequence[Content]) -> None:
    found = _pairs(contents)
    if found is None:
        return
    try:
        _ask(script, room_id, [*about, *found])
    except Away:
        logger.debug("The newest messages of room %d could not be kept", room_id)


def _pairs(contents: Iterable[Content]) -> list[Argument] | None:
    found: list[Argument] = []
    for content in contents:
        data = _kept(content)
        if len(data) > MOST_BYTES:
            return None
        found += (content["number"], data)
    return found


def _kept(content: Content) -> bytes:
    rest = {name: value for name, value in content.items() if name not in ("type", "room")}
    return encode({**rest, "author": content["author"]["id"]})


def _ask(script: Script, room_id: int, arguments: list[Argument]) -> Any:
    if not breaker.ready():
        raise Away
    try:
        answer = script(client(Role.CACHE, Purpose.FAST), [keys.history(room_id)], arguments)
    except (RedisError, OSError) as error:
        breaker.failed(error)
        raise Away from error
    breaker.succeeded()
    return answer
