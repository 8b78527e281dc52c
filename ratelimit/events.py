"""Facts about limits."""

from intellicolab.events.schema import Event, event


@event("limit:exceeded", stream="system-events")
class LimitExceeded(Event):
    """Somebody was refused again and again. `kind` and `who` are the identity in clear, such as `address` 192.0.2.1;
    of a secret (a key, a session) its first letters."""

    policy_id: int
    policy: str
    kind: str
    who: str
    refusals: int
