"""What the group `audit` takes: all that people and rooms are told of, but not what people write.

A log of every message would bury what matters, so of messages it has those that somebody else than the author deleted.
Nobody but the author edits one.
"""

from accounts.events import UserConfirmed, UserCreated, UserDeactivated, UserDeleted, UserReactivated, UserUpdated
from intellicolab.events.groups import on
from intellicolab.events.schema import Event
from intellicolab.jobs.events import JobDead
from ratelimit.events import LimitExceeded
from realtime.events import MemberJoined, MemberLeft, MessageDeleted, RoomArchived, RoomCreated

from . import services

GROUP = "audit"


@on(UserCreated, group=GROUP)
@on(UserConfirmed, group=GROUP)
@on(UserUpdated, group=GROUP)
@on(UserDeactivated, group=GROUP)
@on(UserReactivated, group=GROUP)
@on(UserDeleted, group=GROUP)
@on(LimitExceeded, group=GROUP)
@on(JobDead, group=GROUP)
@on(RoomCreated, group=GROUP)
@on(RoomArchived, group=GROUP)
@on(MemberJoined, group=GROUP)
@on(MemberLeft, group=GROUP)
def note(event: Event) -> None:
    services.record(event)


@on(MessageDeleted, group=GROUP)
def note_deletion(event: MessageDeleted) -> None:
    if event.by_id != event.author_id:
        services.record(event)
