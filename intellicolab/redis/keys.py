"""The one module that names keys: a function a key, with its TTL in seconds beside it.

What stands between braces is the cluster hash tag: keys that one script touches together share it, so they live on
the same node. Names carry no user input as it came: it is hashed, or it is a number.
"""

PREFIX = "ic"

# Counters: a hash a minute for a day, a hash an hour for 90 days, one hash of totals.
COUNTERS_MINUTE_TTL = 24 * 60 * 60
COUNTERS_HOUR_TTL = 90 * 24 * 60 * 60
# No TTL: one hash of a few fields a family, the totals since the installation began.
COUNTERS_TOTAL_TTL = None

# A cached value's lifetime and its flight's lease are its declaration's. Wake-ups of readers that gave up meanwhile:
CACHE_WAKE_TTL = 5
# A tag's stamp may outlive its values or not: a value whose stamp is gone counts as invalidated.
CACHE_TAG_TTL = 7 * 24 * 60 * 60

SESSION_TTL = 24 * 60 * 60


def counters_minute(family: str, minute: int) -> str:
    """Hash of the counters of a family ("cache", "limit") in one minute (Unix time // 60)."""
    return f"{PREFIX}:count:{{{family}}}:{minute}"


def counters_hour(family: str, hour: int) -> str:
    """Hash of the counters of a family in one hour (Unix time // 3600)."""
    return f"{PREFIX}:count:{{{family}}}:h{hour}"


def counters_total(family: str) -> str:
    """Hash of the counters of a family since the beginning."""
    return f"{PREFIX}:count:{{{family}}}:total"


def cached(namespace: str, key: str | int) -> str:
    """A cached value. It, its flight and its wake list share the hash tag `{namespace:key}`."""
    return f"{PREFIX}:cache:{{{namespace}:{key}}}"


def cached_prefix(namespace: str) -> str:
    """What all cached values of a namespace begin with, and nothing else does."""
    return f"{PREFIX}:cache:{{{namespace}:"


def flight(value: str) -> str:
    """Who loads or writes a cached value now, by the value's own name: a hash of token, tag stamps and waiters."""
    return value.replace(":cache:", ":flight:", 1)


def wake(value: str) -> str:
    """List from which those are woken who wait for a cached value's flight."""
    return value.replace(":cache:", ":wake:", 1)


def tag(name: str) -> str:
    """The stamp of a cache tag's last invalidation."""
    return f"{PREFIX}:tag:{{{name}}}"


def limit(rule: str, identity: str) -> str:
    """State of one limiter rule for one hashed identity; its TTL is the rule's window."""
    return f"{PREFIX}:limit:{{{identity}}}:{rule}"


# Of the policies' last change. Processes that find none read the policies, so it may end.
LIMITS_STAMP_TTL = 24 * 60 * 60
# Offenders and refused paths are counted in pieces of an hour, of which the last seven are shown.
OFFENDERS_SECONDS = 10 * 60
OFFENDERS_TTL = 70 * 60
# Who an offender is, in clear, is known for an hour after the last refusal.
OFFENDER_NAME_TTL = 60 * 60
# What happened in the last hour, for the preview of a policy.
TRAFFIC_TTL = 60 * 60


def limits_stamp() -> str:
    """A random stamp that each change of the limiter's policies sets anew."""
    return f"{PREFIX}:{{limits}}:stamp"


def offenders(piece: int) -> str:
    """Sorted set of refused identities (policy, kind and hash) in one piece of an hour (Unix time // 600)."""
    return f"{PREFIX}:{{limits}}:offenders:{piece}"


def refused_paths(piece: int) -> str:
    """Sorted set of the paths and frames refused in one piece of an hour."""
    return f"{PREFIX}:{{limits}}:paths:{piece}"


def offender_name(identity: str) -> str:
    """Who is behind a hashed identity, in clear."""
    return f"{PREFIX}:{{limits}}:who:{identity}"


def traffic() -> str:
    """Stream of what a sample of people and addresses did in the last hour; its TTL begins anew with each entry."""
    return f"{PREFIX}:{{limits}}:traffic"


def sessions_of(user_id: int) -> str:
    """Set of the hashes of a person's session keys; its TTL is that of the session that lives longest.

    The tag puts a person's Set and the entries of their devices on one node; the sessions themselves lie anywhere.
    """
    return f"{PREFIX}:sessions:{{{user_id}}}"


def device(user_id: int, session: str) -> str:
    """Hash of what is shown of one session (hashed key): browser, address, last active; its TTL is the session's."""
    return f"{PREFIX}:device:{{{user_id}}}:{session}"


# No TTL: a lock's fencing number must not go back while the clock does; one number a lock name, and names are few.
LOCK_FENCE_TTL = None


def lock(name: str) -> str:
    """Who holds a lock; its TTL is the lease. Its other keys share the hash tag `{lock:name}`."""
    return f"{PREFIX}:lock:{{lock:{name}}}"


def lock_fence(name: str) -> str:
    """The last fencing number of a lock."""
    return f"{PREFIX}:lock:{{lock:{name}}}:fence"


def lock_wake(name: str) -> str:
    """List with at most one token, for the waiter that is woken; its TTL is the time to claim the lock."""
    return f"{PREFIX}:lock:{{lock:{name}}}:wake"


def lock_queue(name: str) -> str:
    """Sorted set of a lock's waiters by when they will have looked again; its TTL is the last of those times."""
    return f"{PREFIX}:lock:{{lock:{name}}}:queue"


def lock_index() -> str:
    """Sorted set of the locks held for longer than a second, by the end of their lease; its TTL is the last end."""
    return f"{PREFIX}:locks:{{locks}}"


# A heartbeat counts this long; it is renewed every 25 to 50 seconds, so one that is lost is no absence.
PRESENCE_TTL = 60


def presence(part: str) -> str:
    """Sorted sets by the end of the last heartbeat: `people`, `beats` ("person:process") and `processes`."""
    return f"{PREFIX}:{{presence}}:{part}"


# From when a reader brought them: appending does not renew it, so a room that nobody opens any more leaves Redis.
HISTORY_TTL = 24 * 60 * 60


def history(room_id: int) -> str:
    """Sorted set of a room's newest messages by number; the version that they stand for has the number 0."""
    return f"{PREFIX}:history:{{{room_id}}}"


def tag_prefix() -> str:
    """What all tags begin with, and nothing else does."""
    return f"{PREFIX}:tag:"


# No TTL: what waits to be written to the database must stay until it is there; each buffer has a limit of entries.
BEHIND_TTL = None
# The operations of sums are remembered for this long, so that one whose answer was lost can be sent again.
BEHIND_OPERATIONS_TTL = 300


def behind(namespace: str, part: str) -> str:
    """One of the parts of a write-behind buffer, which share the hash tag `{behind:namespace}`."""
    return f"{PREFIX}:{{behind:{namespace}}}:{part}"


# No TTL: what nobody has taken yet must stay; a stream holds a bounded number of entries, and there are a few streams.
EVENT_STREAM_TTL = None
# No TTL: as the fencing number of a lock.
EVENT_FENCE_TTL = None


def event_stream(stream: str) -> str:
    """Stream of facts; each entry's id is its position. What belongs to it shares the hash tag `{events:stream}`."""
    return f"{PREFIX}:{{events:{stream}}}"


def event_fence(stream: str) -> str:
    """The highest fencing number of a relay that has appended to the stream."""
    return f"{PREFIX}:{{events:{stream}}}:fence"


# No TTL: an entry leaves it when it is tried again, and there is one for a failed entry at most.
EVENT_RETRIES_TTL = None


def event_retries(stream: str, group: str) -> str:
    """Sorted set of the entries that a group will try again, by when (ms)."""
    return f"{PREFIX}:{{events:{stream}}}:retries:{group}"


# No TTL: what has not run yet must stay. Jobs that have ended are kept for the TTL of their result.
JOB_TTL = None
# No TTL: what belongs to jobs that have not run yet, each bounded by their number.
JOBS_TTL = None


def job(backend: str, job_id: str) -> str:
    """Hash of one job: what it is, its state, tries and result. All of a backend's share the tag `{jobs:backend}`."""
    return f"{PREFIX}:{{jobs:{backend}}}:job:{job_id}"


def job_stream(backend: str, queue: str, priority: int) -> str:
    """Stream of the ids of a queue's waiting and running jobs of one priority."""
    return f"{PREFIX}:{{jobs:{backend}}}:queue:{queue}:{priority}"


def jobs_of(backend: str, queue: str, part: str) -> str:
    """What else belongs to a queue.

    `scheduled` and `retries`: sorted sets of `id:priority` by when (ms); `levels`: set of the priorities in use;
    `bell`: list of one token at most, for the worker that is woken; `workers` and `gone`: sorted sets by the end of a
    lease.
    """
    return f"{PREFIX}:{{jobs:{backend}}}:{part}:{queue}"


def jobs(backend: str, part: str) -> str:
    """What belongs to all queues.

    `unique`: hash of jobs by digest; `cancelled`: set of running jobs; `dead`: sorted set by when they were given up
    (ms); `paused`: set of queues; `carried` and `fence`: the last position and fencing number of the outbox.
    """
    return f"{PREFIX}:{{jobs:{backend}}}:{part}"


# Three heartbeats: a worker that misses that many has gone, or hangs.
WORKER_TTL = 15


def worker_index() -> str:
    """Sorted set of the workers that live, by the end of their last heartbeat (ms), which is its TTL, too."""
    return f"{PREFIX}:{{workers}}"


def worker(worker_id: str) -> str:
    """What one worker says of itself, as JSON."""
    return f"{PREFIX}:{{workers}}:{worker_id}"


def signal(name: str) -> str:
    """The channel of signals of that name; nothing is kept."""
    return f"{PREFIX}:signal:{{{name}}}"
