"""Write-behind: writes land in Redis, and a flusher moves them to the database in batches.

`LatestBuffer` for values of which the last one counts, `SumBuffer` for additions; `update_latest`, `update_greatest`
and `add_sums` write batches of them to a model; `Flusher` is the worker's service, `drain` writes everything now.
"""

from .buffer import Buffer, BufferState, DeadEntry, registry
from .flusher import Flusher, drain, take_dead
from .latest import Entry, LatestBuffer
from .rows import Row, add_sums, update_greatest, update_latest
from .sums import SumBuffer

__all__ = [
    "Buffer",
    "BufferState",
    "DeadEntry",
    "Entry",
    "Flusher",
    "LatestBuffer",
    "Row",
    "SumBuffer",
    "add_sums",
    "drain",
    "registry",
    "states",
    "take_dead",
    "update_greatest",
    "update_latest",
]


def states() -> list[BufferState]:
    """How each declared buffer is doing, for the dashboard. Raises RedisError."""
    return [buffer.state() for buffer in registry.values()]
