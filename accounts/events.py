"""Facts about people. They name people by id: what somebody is called is looked up when it is shown."""

from intellicolab.events.schema import Event, event

STREAM = "user-events"


@event("user:created", stream=STREAM)
class UserCreated(Event):
    """Somebody has an account. `by_id` is who made it, where they (or a command) did not do it themselves."""

    user_id: int
    by_id: int | None = None


@event("user:confirmed", stream=STREAM)
class UserConfirmed(Event):
    """An email address of theirs is confirmed; each one that they confirm is a fact."""

    user_id: int


@event("user:updated", stream=STREAM)
class UserUpdated(Event):
    """The profile that others see, the address, or what one may do has changed. `fields` are those of the person's row:
    display_name, bio, time_zone, avatar, email, is_staff, is_superuser. `by_id` is who did it for them."""

    user_id: int
    fields: list[str]
    by_id: int | None = None


@event("user:deactivated", stream=STREAM)
class UserDeactivated(Event):
    """They can't sign in any more. `by_id` is who decided it; a command says nobody."""

    user_id: int
    by_id: int | None = None


@event("user:reactivated", stream=STREAM)
class UserReactivated(Event):
    """They can sign in again."""

    user_id: int
    by_id: int | None = None


@event("user:deleted", stream=STREAM)
class UserDeleted(Event):
    """Their account is gone, and with it what they were called: that is in `display_name`. A command says nobody."""

    user_id: int
    display_name: str
    by_id: int | None = None
