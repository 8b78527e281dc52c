"""Refuses a holder whose lock has gone to another: the check that makes a lock with a lease safe.

A holder that was paused for longer than its lease cannot know it when it wakes; what it writes to can. Each write names
the fencing number of the lock, and the row remembers the highest it has seen (M. Kleppmann, "How to do distributed
locking", 2016).
"""

from django.db.models import QuerySet


class StaleFence(RuntimeError):
    """A holder with a higher fencing number has written already: this one's lock went, and nothing was written."""


def advance_fence(rows: QuerySet, number: int, field: str = "fence") -> int:
    """Write the fencing number to these rows, in the transaction of the work itself, before the work.

    Compare and swap in one statement: on PostgreSQL it also holds the row until the commit, so two holders cannot pass
    side by side. Returns how many rows it was. Raises StaleFence when there is none that may take the number.
    """
    changed = rows.filter(**{f"{field}__lte": number}).update(**{field: number})
    if not changed:
        raise StaleFence(f"The fencing number {number} is older than what was written last, or the row is gone.")
    return changed
