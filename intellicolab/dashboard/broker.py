"""The page Events: the streams, who takes from them, what waits in the outbox, and the workers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.db.models import Count
from django.utils import timezone
from redis.exceptions import RedisError

from intellicolab.events import backlog
from intellicolab.events import problems as watched
from intellicolab.events.backlog import Backlog
from intellicolab.events.models import DeadLetter
from intellicolab.events.relay import NAME
from intellicolab.events.schema import streams
from intellicolab.events.standing import GroupState, StreamState, standing
from intellicolab.redis.heartbeat import Worker, workers
from intellicolab.redis.lock import held

from . import journal
from .figures import age, compact, percent, rate
from .pages import Page
from .queries import reason
from .tiles import Tile
from .workers import WorkerRow

AREA = "events"  # of the journal


@dataclass(frozen=True, slots=True)
class StreamRow:
    """`state` is None while Redis is away."""

    name: str
    kept: int
    pace: str
    waiting: Backlog
    state: StreamState | None = None

    @property
    def oldest(self) -> str:
        return age(self.waiting.oldest, "nothing")

    @property
    def share(self) -> str:
        return percent(self.state.share) if self.state else ""


@dataclass(frozen=True, slots=True)
class GroupRow:
    state: GroupState
    dead: int
    is_run: bool

    @property
    def oldest(self) -> str:
        return age(self.state.oldest, "nothing waits")

    @property
    def next_try(self) -> str:
        return age(self.state.next_try)

    @property
    def paused_for(self) -> str:
        return age((timezone.now() - self.state.pause.at).total_seconds() if self.state.pause else None)

    @property
    def consumers(self) -> list[tuple[str, str, int]]:
        """Name, silence and what it has in hand, the longest silent first."""
        found = sorted(self.state.consumers, key=lambda consumer: -consumer.idle)
        return [(consumer.name, age(consumer.idle), consumer.pending) for consumer in found]

    @property
    def is_stalled(self) -> bool:
        return not self.state.pause and watched.is_stalled(self.state)


@dataclass(slots=True)
class EventsPage(Page):
    streams: list[StreamRow] = field(default_factory=list)
    groups: list[GroupRow] = field(default_factory=list)


def dead_problems() -> list[str]:
    """For the first page."""
    return _dead_problems(DeadLetter.objects.count())


def events_page() -> EventsPage:
    """Everything on the page; while Redis is away, what the database knows."""
    page = EventsPage(timezone.now())
    found: list[StreamState] = []
    living: list[Worker] = []
    try:
        found, living, page.lock = standing(), workers(), held(NAME)
    except (RedisError, OSError) as error:
        page.error = reason(error)
        page.problems.append(
            f"Redis state: {page.error}. Facts are kept in the database meanwhile; nothing is handled until it is back."
        )
    else:
        page.problems += [problem.sentence for problem in watched.problems(found, living)]
        page.streams = [_stream_row(state.name, state) for state in found]
    page.streams = page.streams or [_stream_row(name) for name in streams()]
    page.workers = [WorkerRow(worker) for worker in living]
    dead = _dead()
    page.problems += _dead_problems(dead.total())
    run = watched.run_groups(living)
    page.groups = [
        GroupRow(group, dead[group.name, group.stream], group.name in run) for state in found for group in state.groups
    ]
    page.tiles = _tiles(page, dead)
    page.journal = journal.latest(AREA, DeadLetter)
    return page


def _stream_row(name: str, state: StreamState | None = None) -> StreamRow:
    waiting = backlog.uncarried(name, state.end) if state else Backlog()
    return StreamRow(name, backlog.kept(name), rate(backlog.pace(name)), waiting, state)


def _dead() -> Counter[tuple[str, str]]:
    rows = DeadLetter.objects.values_list("group", "stream").annotate(count=Count("pk")).order_by()
    return Counter({(group, stream): count for group, stream, count in rows})


def _dead_problems(count: int) -> list[str]:
    if not count:
        return []
    letters = "1 dead letter waits" if count == 1 else f"{count:,} dead letters wait"
    return [f"{letters} for a decision: under Events, replay or discard what groups have given up."]


# --- Tiles ---------------------------------------------------------------------------------------------------------


def _tiles(page: EventsPage, dead: Counter[tuple[str, str]]) -> list[Tile]:
    outbox = _outbox_tile(page)
    letters = Tile(
        "Dead letters",
        compact(dead.total()),
        exact=f"{dead.total():,}",
        note=f"of {len(dead)} group{'' if len(dead) == 1 else 's'}" if dead else "no group has given up anything",
        bounds="0",
        problem=bool(dead),
    )
    if page.error:
        return [outbox, letters]
    return [_oldest_tile(page.groups), outbox, _fullest_tile(page.streams), letters, _workers_tile(page.workers)]


def _oldest_tile(rows: Sequence[GroupRow]) -> Tile:
    oldest = max(rows, key=lambda row: row.state.oldest or 0.0, default=None)
    waits = oldest is not None and oldest.state.oldest is not None
    return Tile(
        "Oldest waiting fact",
        oldest.oldest if oldest and waits else "none",
        exact=f"{oldest.state.oldest:,.0f} s" if oldest and waits else "",
        note=f"{oldest.state.name}, in {oldest.state.stream}" if oldest and waits else "every group is up to date",
        bounds=f"below {age(watched.STALLED)}",
        problem=any(row.is_stalled for row in rows),
    )


def _outbox_tile(page: EventsPage) -> Tile:
    """Rows that the relay has not seen, and those that Redis has not taken."""
    waiting = [backlog.unnumbered(), *(row.waiting for row in page.streams)]
    count, oldest = sum(each.rows for each in waiting), _oldest(waiting)
    more = "> " if any(each.is_more for each in waiting) else ""
    return Tile(
        "Rows waiting in the outbox",
        more + compact(count),
        exact=f"{more}{count:,}",
        note=f"the oldest for {age(oldest)}" if oldest is not None else "nothing waits for the relay",
        bounds=f"younger than {age(watched.STALLED)}",
        problem=oldest is not None and oldest >= watched.STALLED,
    )


def _oldest(waiting: Iterable[Backlog]) -> float | None:
    return max((each.oldest for each in waiting if each.oldest is not None), default=None)


def _fullest_tile(rows: Sequence[StreamRow]) -> Tile:
    states = [row.state for row in rows if row.state]
    fullest = max(states, key=lambda state: state.share, default=None)
    return Tile(
        "Fullest stream",
        percent(fullest.share) if fullest else "none",
        exact=f"{fullest.length:,} of {fullest.bound:,} entries" if fullest else "",
        note=fullest.name if fullest and fullest.length else "nothing lies in any",
        bounds=f"below {watched.HIGH:g} %",
        problem=fullest is not None and fullest.share >= watched.HIGH,
    )


def _workers_tile(rows: Sequence[WorkerRow]) -> Tile:
    hosts = len({row.worker.host for row in rows})
    note = f"on {hosts} machine{'' if hosts == 1 else 's'}" if rows else "start `manage.py worker`"
    return Tile("Workers", str(len(rows)), note=note, bounds="1 or more", problem=not rows)
