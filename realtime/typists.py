"""That somebody is typing: told to the room's open sockets at the moment, and kept nowhere.

Everybody's key strokes are news for everybody in the room, so it is told once in three seconds for each person, and
not at all in a large room (Mattermost lost 44 % of its capacity to such news in rooms above 1,000).
"""

import time
from collections import OrderedDict

from . import frames
from .publisher import Batch, publisher, room_topic

EVERY_SECONDS = 3.0
MOST_REMEMBERED = 10_000  # people and rooms; who is forgotten too early may be told of once more

_told: OrderedDict[tuple[int, int], float] = OrderedDict()


def tell(room_id: int, user_id: int, name: str) -> None:
    """Somebody is typing in a room that they are in, which is not a large one."""
    if _is_due(room_id, user_id):
        publisher.publish(Batch(room_topic(room_id), [frames.typing(room_id, user_id, name)]))


def _is_due(room_id: int, user_id: int) -> bool:
    now, key = time.monotonic(), (room_id, user_id)
    if now - _told.get(key, -EVERY_SECONDS) < EVERY_SECONDS:
        return False
    _told[key] = now
    _told.move_to_end(key)
    if len(_told) > MOST_REMEMBERED:
        _told.popitem(last=False)
    return True
