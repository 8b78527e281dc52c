"""Each kind of fact as a sentence. A name may be any text, even one that reads like the rest of a sentence: who did
it stands in a column of its own, and `Told.actor_id` is what counts.
"""

from dataclasses import dataclass
from functools import singledispatch

from accounts.events import UserConfirmed, UserCreated, UserDeactivated, UserDeleted, UserReactivated, UserUpdated
from intellicolab.events.schema import Event
from intellicolab.jobs.events import JobDead
from intellicolab.plain import plain
from ratelimit.events import LimitExceeded
from realtime.events import MemberJoined, MemberLeft, MessageDeleted, RoomArchived, RoomCreated

from .names import person, room

# What the fields of a person's row are called.
WORDS = {
    "display_name": "name",
    "bio": "text about themselves",
    "time_zone": "time zone",
    "avatar": "picture",
    "email": "email address",
    "is_staff": "access to the admin",
    "is_superuser": "rights of a superuser",
}


@dataclass(frozen=True, slots=True)
class Told:
    """A fact for people: the sentence, what it is about in a few words, and whose doing it is, if anybody's."""

    sentence: str
    subject: str
    actor_id: int | None = None
    person_id: int | None = None
    room_id: int | None = None


@singledispatch
def tell(event: Event) -> Told:
    """Raises LookupError for a kind that has no sentence."""
    raise LookupError(f"Nobody has said what {event.name!r} reads like.")


@tell.register
def _created(event: UserCreated) -> Told:
    name = person(event.user_id)
    sentence = f"{name} made an account."
    if event.by_id not in (None, event.user_id):
        sentence = f"{person(event.by_id)} made an account for {name}."
    return _about(event, name, sentence)


@tell.register
def _confirmed(event: UserConfirmed) -> Told:
    name = person(event.user_id)
    return _about(event, name, f"{name} has a confirmed email address.")


@tell.register
def _updated(event: UserUpdated) -> Told:
    name, what = person(event.user_id), _listed([WORDS.get(field, field) for field in event.fields])
    sentence = f"{name} changed their own {what}."
    if event.by_id not in (None, event.user_id):
        sentence = f"{person(event.by_id)} changed the {what} of {name}."
    return _about(event, name, sentence)


@tell.register
def _deactivated(event: UserDeactivated) -> Told:
    return _decided(event, "deactivated")


@tell.register
def _reactivated(event: UserReactivated) -> Told:
    return _decided(event, "reactivated")


@tell.register
def _deleted(event: UserDeleted) -> Told:
    name = event.display_name
    sentence = f"the account of {name} was deleted."
    if event.by_id is not None:
        sentence = f"{person(event.by_id)} deleted the account of {name}."
    return Told(_sentence(sentence), name, event.by_id, event.user_id)


def _decided(event: UserDeactivated | UserReactivated, done: str) -> Told:
    name = person(event.user_id)
    if event.by_id is None:
        return Told(_sentence(f"the account of {name} was {done}."), name, person_id=event.user_id)
    return _about(event, name, f"{person(event.by_id)} {done} the account of {name}.")


def _about(
    event: UserCreated | UserConfirmed | UserUpdated | UserDeactivated | UserReactivated, name: str, sentence: str
) -> Told:
    actor_id = getattr(event, "by_id", None) or event.user_id
    return Told(_sentence(sentence), name, actor_id, event.user_id)


@tell.register
def _exceeded(event: LimitExceeded) -> Told:
    user_id = int(event.who) if event.kind == "user" and event.who.isdecimal() else None
    who = person(user_id) if user_id is not None else _identity(event)
    sentence = f"The limit {event.policy} refused {who} {event.refusals:,} times within ten minutes."
    return Told(sentence, who, user_id, user_id)


def _identity(event: LimitExceeded) -> str:
    kinds = {"address": "the address", "api_key": "the API key", "session": "the session"}
    return f"{kinds.get(event.kind, event.kind)} {event.who}"


@tell.register
def _job_dead(event: JobDead) -> Told:
    name = event.task.rpartition(".")[2] or "unreadable"
    return Told(f"The job {name} failed for the last time: {plain(event.reason)}", name)


@tell.register
def _room_created(event: RoomCreated) -> Told:
    what = room(event.room_id)
    if event.kind == "private":
        what = what.replace("the room", "the private room", 1)
    done = "opened" if event.kind == "direct" else "made"
    sentence = f"{what} was {done}." if event.by_id is None else f"{person(event.by_id)} {done} {what}."
    return _in(event, what, sentence, event.by_id)


@tell.register
def _archived(event: RoomArchived) -> Told:
    what = room(event.room_id)
    return _in(event, what, f"{person(event.by_id)} archived {what}.", event.by_id)


@tell.register
def _joined(event: MemberJoined) -> Told:
    where, name = room(event.room_id), person(event.user_id)
    if event.by_id in (None, event.user_id):
        return _in(event, where, f"{name} joined {where}.", event.user_id, event.user_id)
    return _in(event, where, f"{person(event.by_id)} added {name} to {where}.", event.by_id, event.user_id)


@tell.register
def _left(event: MemberLeft) -> Told:
    where, name = room(event.room_id), person(event.user_id)
    if event.by_id in (None, event.user_id):
        return _in(event, where, f"{name} left {where}.", event.user_id, event.user_id)
    return _in(event, where, f"{person(event.by_id)} removed {name} from {where}.", event.by_id, event.user_id)


@tell.register
def _message_deleted(event: MessageDeleted) -> Told:
    where, author = room(event.room_id), person(event.author_id)
    sentence = f"{person(event.by_id)} deleted message {event.number} of {author} in {where}."
    return _in(event, f"message {event.number} in {where}", sentence, event.by_id, event.author_id)


RoomFact = RoomCreated | RoomArchived | MemberJoined | MemberLeft | MessageDeleted


def _in(event: RoomFact, subject: str, sentence: str, by_id: int | None, person_id: int | None = None) -> Told:
    return Told(_sentence(sentence), subject, by_id, person_id, event.room_id)


def _listed(words: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _sentence(text: str) -> str:
    """With a capital, unless it begins with a name: those are as their owners write them."""
    ours = ("somebody who is gone", "the account of", "the room", "the private room", "a room", "a direct room")
    return text[0].upper() + text[1:] if text.startswith(ours) else text
