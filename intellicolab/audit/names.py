"""What people and rooms are called now. Whoever and whatever is gone has words, too."""

from accounts.models import User
from intellicolab.plain import plain
from realtime.models import Room


def person(user_id: int) -> str:
    """Within a sentence."""
    name = User.objects.filter(pk=user_id).values_list("display_name", flat=True).first()
    return name or f"somebody who is gone (person {user_id})"


def room(room_id: int) -> str:
    """Within a sentence. Who the two of a direct room are is theirs."""
    found = Room.objects.filter(pk=room_id).only("name", "kind").first()
    if found is None:
        return f"a room that is gone (room {room_id})"
    return "a direct room" if found.kind == Room.Kind.DIRECT else f"the room {plain(found.name)}"
