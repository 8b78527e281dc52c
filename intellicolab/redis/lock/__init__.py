"""Distributed locks: `Lock` takes one, `Grant` is one that is held, `holders()` tells the dashboard."""

from .errors import LockError, LockLost, LockReentered, LockTimeout, LockUnavailable
from .grant import Grant
from .holders import HeldLock, Holder, held, holders
from .lock import Lock

__all__ = [
    "Grant",
    "HeldLock",
    "Holder",
    "Lock",
    "LockError",
    "LockLost",
    "LockReentered",
    "LockTimeout",
    "LockUnavailable",
    "held",
    "holders",
]
