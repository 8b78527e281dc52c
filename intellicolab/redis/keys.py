"""The one module that names keys: a function a key, with its TTL in seconds beside it.

What stands between braces is the cluster hash tag: keys that one script touches together share it, so they live on
the same node. Names carry no user input as it came: it is hashed, or it is a number.
"""

PREFIX = "ic"

# Counters: a hash a minute, kept a day so that the dashboard can draw the last 24 hours; one hash of totals.
COUNTERS_MINUTE_TTL = 24 * 60 * 60
# No TTL: one hash of a few fields a family, the totals since the installation began.
COUNTERS_TOTAL_TTL = None

# A cached value's lifetime is its declaration's; a lease outlives the slowest loader, then another reader may load.
CACHE_LEASE_TTL = 10

SESSION_TTL = 24 * 60 * 60


def counters_minute(family: str, minute: int) -> str:
    """Hash of the counters of a family ("cache", "limit") in one minute (Unix time // 60)."""
    return f"{PREFIX}:count:{{{family}}}:{minute}"


def counters_total(family: str) -> str:
    """Hash of the counters of a family since the beginning."""
    return f"{PREFIX}:count:{{{family}}}:total"


def cached(namespace: str, key: str | int) -> str:
    """A cached value or the lease of who loads it."""
    return f"{PREFIX}:cache:{namespace}:{{{key}}}"


def limit(rule: str, identity: str) -> str:
    """State of one limiter rule for one hashed identity; its TTL is the rule's window."""
    return f"{PREFIX}:limit:{{{identity}}}:{rule}"


def sessions_of(user_id: int) -> str:
    """Set of the hashes of a person's session keys; its TTL is that of the session that lives longest.

    The tag puts a person's Set and the entries of their devices on one node; the sessions themselves lie anywhere.
    """
    return f"{PREFIX}:sessions:{{{user_id}}}"


def device(user_id: int, session: str) -> str:
    """Hash of what is shown of one session (hashed key): browser, address, last active; its TTL is the session's."""
    return f"{PREFIX}:device:{{{user_id}}}:{session}"
