"""What is wrong with streams, groups and workers, in words, with the place to look: for the dashboard and the log."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from intellicolab.redis.heartbeat import Worker, workers

from .standing import GroupState, StreamState, standing

HIGH = 80.0  # per cent of a stream's bound
FULL = 99.9  # the relay appends up to 500 at once, or none
STALLED = 5 * 60.0  # seconds that a fact waits for a group which is not merely about to try it again


@dataclass(frozen=True, slots=True)
class Problem:
    """`key` stays the same while the problem lasts, though the figures in its sentence change."""

    key: str
    sentence: str


NO_WORKER = Problem(
    "workers",
    "No worker lives: facts are not handled, jobs do not run, and what is written behind waits. Start `manage.py "
    "worker`, or look at its log.",
)


def found() -> list[Problem]:
    """Those of now. Raises RedisError, DatabaseError."""
    return list(problems(standing(), workers()))


def problems(streams: Sequence[StreamState], living: Sequence[Worker]) -> Iterator[Problem]:
    """Without a worker no group gets on, so only that is said then."""
    if not living:
        yield NO_WORKER
    for stream in streams:
        yield from _of_bound(stream)
        if living:
            for group in stream.groups:
                yield from _of_group(group, run_groups(living))


def _of_bound(stream: StreamState) -> Iterator[Problem]:
    slowest = max(stream.groups, key=lambda group: group.waiting, default=None)
    who = f"{slowest.name} has {slowest.waiting:,} to go" if slowest else "no group takes them"
    if stream.share >= FULL:
        yield Problem(
            f"full:{stream.name}",
            f"The stream {stream.name} is full ({stream.length:,} entries); {who}. Further facts wait in the database. "
            "Look under Events.",
        )
    elif stream.share >= HIGH:
        yield Problem(
            f"high:{stream.name}",
            f"The stream {stream.name} is {stream.share:.0f} % full ({stream.length:,} of {stream.bound:,} entries); "
            f"{who}. Look under Events.",
        )


def _of_group(group: GroupState, run: set[str]) -> Iterator[Problem]:
    """A paused one stands still because somebody wants it to; one that nobody declares is the sweep's; and a group for
    which nothing waits misses nothing."""
    if group.pause or not group.declared or not group.waiting:
        return
    if group.name not in run:
        yield Problem(
            f"idle:{group.stream}:{group.name}",
            f"No worker runs the group {group.name} for {group.stream}: {_facts(group.waiting)} wait. Look under "
            "Events which groups the workers run.",
        )
    elif is_stalled(group):
        yield Problem(
            f"stalled:{group.stream}:{group.name}",
            f"The group {group.name} does not get on with {group.stream}: {_facts(group.waiting)} wait, the oldest "
            f"for {(group.oldest or 0) / 60:,.0f} minutes. Look under Events, and at the worker's log.",
        )


def run_groups(living: Sequence[Worker]) -> set[str]:
    """The names of the groups that some worker says it runs. How long consumers are idle does not tell (see there)."""
    return {name for worker in living for name in worker.runs.get("groups", ())}


def is_stalled(group: GroupState) -> bool:
    """What has failed and waits for its next try is no stall: that may last half an hour."""
    if group.oldest_new is not None and group.oldest_new >= STALLED:
        return True
    return not group.retries and group.oldest is not None and group.oldest >= STALLED


def _facts(count: int) -> str:
    return f"{count:,} fact{'' if count == 1 else 's'}"
