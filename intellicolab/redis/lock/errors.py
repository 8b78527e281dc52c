"""What can go wrong with a lock, each with a class of its own."""


class LockError(RuntimeError):
    """The base of all of them."""


class LockTimeout(LockError):
    """The lock did not come free within the time that the caller would wait; the message names its holder."""


class LockReentered(LockError):
    """The thread or task holds this lock already: waiting for itself would never end."""


class LockLost(LockError):
    """The lease went before the holder was done: another may hold the lock now, and work that needs it must stop."""


class LockUnavailable(LockError):
    """Redis gave no answer, so it is unknown who holds the lock."""
