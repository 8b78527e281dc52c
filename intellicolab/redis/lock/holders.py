"""Who holds a lock, for the dashboard and for the message of who waited in vain."""

from pathlib import Path
from typing import Any

import msgspec

from .. import codec, keys, scripts
from ..client import Role, client

MAX_INDEX = 1000  # names in the index: far more than an installation has locks

_look = scripts.load(Path(__file__).parent, "look")


class Holder(msgspec.Struct, frozen=True):
    """A process that holds a lock; `purpose` is its own word, or the name of its thread."""

    host: str
    pid: int
    purpose: str

    def __str__(self) -> str:
        return f"{self.purpose} (process {self.pid} on {self.host})"


class HeldLock(msgspec.Struct, frozen=True):
    """A lock as others see it. `holder` is None while it is handed over; `age` and `left` (of its lease) in seconds."""

    name: str
    holder: Holder | None
    fence: int
    age: float
    left: float

    def __str__(self) -> str:
        who = self.holder or "nobody yet: it is being handed over"
        return f"{self.name!r} is held by {who}, for {self.age:.1f} s"


def parse(name: str, value: bytes, left_ms: int, now: int) -> HeldLock:
    """What lies under a lock's key, `token:fence:since:holder`, or `wake:token` while it is handed over."""
    parts = value.split(b":", 3)
    if len(parts) < 4:
        return HeldLock(name, None, 0, 0.0, left_ms / 1000)
    holder = codec.decode(parts[3], Holder)
    assert isinstance(holder, Holder)
    return HeldLock(name, holder, int(parts[1]), max(0, now - int(parts[2])) / 1e6, left_ms / 1000)


def held(name: str) -> HeldLock | None:
    """Who holds the lock now; None when it is free. Raises RedisError."""
    answer = _look(client(Role.STATE), [keys.lock(name)], [])
    return parse(name, answer[0], answer[1], int(answer[2])) if answer else None


def holders() -> list[HeldLock]:
    """The locks held for longer than a second, the oldest first; two round trips. Raises RedisError."""
    state = client(Role.STATE)
    index: Any = state.zrange(keys.lock_index(), 0, MAX_INDEX)
    names, looks = [name.decode() for name in index], state.pipeline(transaction=False)
    for name in names:
        looks.eval(_look.text, 1, keys.lock(name))  # a Cluster's pipeline takes no EVALSHA
    found = [parse(name, a[0], a[1], int(a[2])) for name, a in zip(names, looks.execute(), strict=True) if a]
    return sorted(found, key=lambda lock: -lock.age)
