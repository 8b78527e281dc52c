"""Cache operations run step by step, in an order that a test chooses, with what may go wrong at each step.

The operations are generators of effects (`intellicolab/cache/effects.py`), so a test can hold many of them, of several
processes, and let any one make its next step. A step is half an effect: it is carried out on the real Redis, or its
answer comes back; in between anything may happen. What a process has in memory (flights, owed invalidations, waiting
refreshes, the local tier) is one set of objects a `Process`, put in place for each of its steps.

Time stands still but for `World.advance`, which ages what lies in Redis and in the tiers.
"""

import asyncio
import struct
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from intellicolab.cache import effects, scripts
from intellicolab.cache.clock import ServerClock, clock
from intellicolab.cache.declaration import Cached
from intellicolab.cache.effects import Fetch, Load, Pop, Wait
from intellicolab.cache.feed import Feed
from intellicolab.cache.flights import Flights, flights
from intellicolab.cache.gateway import breaker
from intellicolab.cache.local import LocalTier
from intellicolab.cache.owed import Owed, owed
from intellicolab.cache.refresher import refresher
from intellicolab.cache.strategies import Strategy
from intellicolab.cache.tracking import Tracker
from intellicolab.redis import keys
from intellicolab.redis.breaker import Breaker
from intellicolab.redis.client import Role, aclose, client, primaries

TTL, NONE_TTL, LEASE = 60.0, 20.0, 5.0  # seconds
KEYS = (1, 2)
NAMES = {keys.cached("modelled", key): key for key in KEYS}
FOR_EVER = float("inf")
_HEADER = struct.Struct(">BBdf")

Operation = Generator[Any, Any, Any]


class Blocked(Exception):
    """The effect has to wait for another operation."""


@dataclass(frozen=True, slots=True)
class Do:
    """An effect of the tests' own: something done by the action at hand. `func` may raise Blocked."""

    func: Callable[["Action"], Any]


# --- A process -------------------------------------------------------------------------------------------------------


class QuietOwed(Owed):
    """Nothing is tried again behind the test's back: `World.settle` does it."""

    def _retry(self) -> None:
        pass


class Queue:
    """Refreshes become operations like others."""

    def __init__(self, submit: Callable[[Operation], "Action"]) -> None:
        self._submit = submit
        self._running: dict[str, Action] = {}

    def submit(self, name: str, operation: Callable[[], Operation]) -> None:
        if name not in self._running or self._running[name].is_over:
            self._running[name] = self._submit(operation())


class Unconnected(Tracker):
    """The tests bring the invalidations."""

    def start(self) -> None:
        pass


@cache
def _uses(original: object) -> list[tuple[Any, str]]:
    return [
        (module, name)
        for path, module in list(sys.modules.items())
        if path.startswith("intellicolab.cache")
        for name, value in vars(module).items()
        if value is original
    ]


class Process:
    """What one process has in memory."""

    def __init__(self, world: "World") -> None:
        self.flights, self.owed = Flights(), QuietOwed()
        self.thing: Cached[Any] = Cached("modelled", "{key}", world.load, many=world.load_many, **world.options)
        del Cached.declared[-1]
        self.tier: Any = None
        if self.thing.tier is not None:
            self.tier = self.thing.tier = LocalTier(self.thing.tier.prefixes, 100, 100_000, tracker=Unconnected())
            self.tier.extend(FOR_EVER)
        mine = {
            flights: self.flights,
            owed: self.owed,
            clock: ServerClock(),
            breaker: Breaker("Cache", "the database answers", pause=0),  # real time decides nothing here
            refresher: Queue(partial(world.start, self, "refresh", KEYS)),
        }
        self._places = [(place, original, own) for original, own in mine.items() for place in _uses(original)]
        self.messages: list[list[bytes] | None] = []
        self.floor = dict.fromkeys(KEYS, 0)  # the oldest version that its next read may see
        self.owes: dict[int, int] = {}  # versions of keys whose invalidation is owed

    @contextmanager
    def acting(self) -> Iterator[None]:
        for (module, name), _, own in self._places:
            setattr(module, name, own)
        try:
            yield
        finally:
            for (module, name), original, _ in self._places:
                setattr(module, name, original)


@dataclass(eq=False)
class Action:
    """An operation under way."""

    process: Process
    kind: str
    wanted: Sequence[int]
    operation: Operation
    floor: dict[int, int]  # versions that it may see at the oldest
    calm: dict[int, int]  # how much had disturbed each key when it began
    effect: Any = None
    answer: Any = None
    error: BaseException | None = None
    is_done: bool = False  # the effect is carried out and its answer is on its way
    deadline: float = FOR_EVER
    loading: set[int] = field(default_factory=set)  # keys
    version: int = 0  # that a write has committed
    is_over: bool = False


# --- All processes, Redis and the database ---------------------------------------------------------------------------


class World:
    """Asserts, at every step, what the caching strategies promise."""

    def __init__(self, strategy: Strategy, local: tuple[int, int] | None = None, through_loop: bool = False) -> None:
        self.options: dict[str, Any] = {
            "strategy": strategy, "type": int, "local": local,
            "ttl": TTL, "none_ttl": NONE_TTL, "lease": LEASE, "jitter": 0.0,
        }  # fmt: skip
        # The longest that a value can be served once it was read: it is stored before its flight's lease ends.
        self.longest = TTL + strategy.stale + LEASE
        self.redis: Any = client(Role.CACHE)
        self.redis.flushdb()
        self.loop = asyncio.new_event_loop() if through_loop else None
        self.now = 0.0
        self.history = {key: [(0, 0.0)] for key in KEYS}  # committed versions and when
        self.newest = dict.fromkeys(KEYS, 0)  # version numbers given out, committed or not
        self.locks: dict[int, Action | None] = dict.fromkeys(KEYS)
        self.floor = dict.fromkeys(KEYS, 0)
        self.wounds: set[int] = set()  # keys whose invalidation died with its process
        self.disturbances = dict.fromkeys(KEYS, 0)
        self._loads: list[int] = []
        self.actions: list[Action] = []
        self.feed: Any = self._feed() if local else None
        self.processes = [Process(self) for _ in range(2)]

    def _feed(self) -> Feed:
        feed = Feed(primaries(Role.CACHE)[0], [keys.cached_prefix("modelled")])
        feed.open()
        return feed

    def close(self) -> None:
        for action in self.actions:
            with action.process.acting():
                action.operation.close()
        if self.feed is not None:
            self.feed.close()
        if self.loop is not None:
            self.loop.run_until_complete(aclose())
            self.loop.close()

    # The database: each version is its own value, and every fourth is that there is none.

    def load(self, key: int) -> int | None:
        return self.load_many([key])[key]

    def load_many(self, wanted: Sequence[int]) -> dict[int, int | None]:
        self._loads += wanted
        return {key: value_of(self.committed(key)) for key in wanted}

    def committed(self, key: int) -> int:
        return self.history[key][-1][0]

    def commit(self, key: int, version: int, action: Action) -> None:
        self.history[key].append((version, self.now))
        action.version = version
        self._unlock(action)

    def next_version(self, key: int) -> int:
        self.newest[key] += 1
        return self.newest[key]

    # Operations.

    def start(self, process: Process, kind: str, wanted: Sequence[int], operation: Operation) -> Action:
        action = Action(process, kind, wanted, operation, self._floor_of(process), dict(self.disturbances))
        self.actions.append(action)
        self._resume(action, partial(next, operation))
        return action

    def read(self, process: Process, wanted: Sequence[int]) -> Action:
        return self.start(process, "read", wanted, reading(process.thing, wanted))

    def probe(self, process: Process, key: int) -> None:
        """A read that is given up where it would change something: what is served now must be recent enough."""
        action = self.read(process, [key])
        while not action.is_over and self._only_looks(action.effect):
            self.step(action)
        if not action.is_over:
            with process.acting():
                action.operation.close()
            self._over(action)

    def _only_looks(self, effect: Any) -> bool:
        return isinstance(effect, Do | Fetch) or effect.calls[0].script is scripts.time

    def write(self, process: Process, key: int, rolled_back: bool = False) -> Action:
        through = process.thing.strategy.writer is not None
        operation = writing_through(self, process, key, rolled_back) if through else writing_aside(self, process, key)
        return self.start(process, "write", [key], operation)

    def invalidate(self, process: Process, key: int) -> Action:
        action = self.start(process, "invalidate", [key], forgetting(process.thing, key))
        action.version = self.committed(key)
        return action

    def refresh(self, process: Process, key: int) -> Action:
        return self.start(process, "refresh", [key], process.thing._engine.refresh(key))

    def _floor_of(self, process: Process) -> dict[int, int]:
        """What a read that begins now may see: nothing that was replaced so long ago that no copy can be left."""
        floor = {}
        for key in KEYS:
            expired = [version for version, at in self.history[key] if at <= self.now - self.longest]
            told = process.floor[key] if self.feed else max(self.floor[key], process.floor[key])
            floor[key] = max(told, *expired, 0)
        return floor

    # Steps.

    def step(self, action: Action, halfway: bool = False) -> None:
        """One effect, or with `halfway` half of it."""
        if not action.is_done and (not self._carry_out(action) or halfway):
            return
        self._deliver(action)

    def fail(self, action: Action, error: BaseException, carried_out: bool) -> None:
        """The next answer is this error, though what was asked may have been done."""
        if carried_out and not action.is_done:
            self._carry_out(action)
        self._disturb(action.wanted)
        action.error, action.is_done = error, True
        self._deliver(action)

    def _carry_out(self, action: Action) -> bool:
        """Whether there is an answer now."""
        try:
            with action.process.acting():
                action.answer = self._perform(action)
        except Blocked:
            return False
        except AssertionError:
            raise
        except Exception as error:  # as a driver hands on whatever an effect meets
            action.error = error
        action.is_done = True
        return True

    def _perform(self, action: Action) -> Any:
        effect = action.effect
        match effect:
            case Do():
                return effect.func(action)
            case Wait():
                return self._wait(action, effect)
            case Pop():
                return self._pop(action, effect)
            case Load():
                return self._load(action, effect)
        if action.kind in ("write", "invalidate"):
            self._disturb(action.wanted)
        return self._run(effect)

    def _run(self, effect: Any) -> Any:
        if self.loop is None:
            return effects._SYNC[type(effect)](effect)
        return self.loop.run_until_complete(effects._ASYNC[type(effect)](effect))

    def _wait(self, action: Action, effect: Wait) -> Any:
        if effect.future.done():
            return effect.future.result()
        if self.now >= action.deadline:
            raise TimeoutError
        raise Blocked

    def _pop(self, action: Action, effect: Pop) -> None:
        if self.redis.lpop(effect.name) is None and self.now < action.deadline:
            raise Blocked

    def _load(self, action: Action, effect: Load) -> Any:
        self._loads = []
        answer = self._run(effect)
        for key in self._loads:
            self._assert_alone(action, key)
            action.loading.add(key)
        return answer

    def _assert_alone(self, action: Action, key: int) -> None:
        """One loader a flight: a second is only due to something that has happened since one of the readers began; or
        to a writer, whose claim has everybody load for themselves."""
        calm = self.disturbances[key]
        if action.calm[key] != calm or self.redis.hexists(keys.flight(keys.cached("modelled", key)), "writer"):
            return
        others = [
            each for each in self.actions if each is not action and key in each.loading and each.calm[key] == calm
        ]
        assert not others, f"{key} is loaded twice at once"

    def _deliver(self, action: Action) -> None:
        error, answer = action.error, action.answer
        action.error, action.answer, action.is_done, action.loading = None, None, False, set()
        if error is not None:
            self._resume(action, partial(action.operation.throw, error))
        else:
            self._resume(action, partial(action.operation.send, answer))

    def _resume(self, action: Action, resume: Callable[[], Any]) -> None:
        try:
            with action.process.acting():
                action.effect = resume()
        except StopIteration as end:
            self._over(action)
            self._ended(action, end.value)
        except (LookupError, asyncio.CancelledError):
            self._over(action)
        else:
            self._note_deadline(action)
        self._note_settled(action.process)

    def _note_deadline(self, action: Action) -> None:
        if isinstance(action.effect, Pop | Wait):
            assert action.effect.seconds <= LEASE, "nobody waits beyond the lease"
            action.deadline = self.now + action.effect.seconds

    def _over(self, action: Action) -> None:
        action.is_over = True
        self.actions.remove(action)
        self._unlock(action)

    def _ended(self, action: Action, result: Any) -> None:
        if action.kind == "read":
            for key in action.wanted:
                self._assert_recent(action, key, result[key])
        elif action.kind in ("write", "invalidate") and action.version:
            self._promise(action.process, action.wanted[0], action.version)

    def _assert_recent(self, action: Action, key: int, value: int | None) -> None:
        allowed = {value_of(version) for version, _ in self.history[key] if version >= action.floor[key]}
        assert value in allowed, f"{key} is {value} for a reader who began when {allowed} could be seen"

    def _promise(self, process: Process, key: int, version: int) -> None:
        """A write or an invalidation is complete: who reads from now on does not see what was before it."""
        process.floor[key] = max(process.floor[key], version)
        process.owes[key] = max(process.owes.get(key, 0), version)

    def _note_settled(self, process: Process) -> None:
        owing = {NAMES[call.keys[0]] for call in process.owed._calls.values()}
        for key in [key for key in process.owes if key not in owing]:
            self.floor[key] = max(self.floor[key], process.owes.pop(key))

    def _disturb(self, wanted: Sequence[int]) -> None:
        for key in wanted:
            self.disturbances[key] += 1

    def lock(self, key: int, action: Action) -> int:
        """A row's new version, which nobody else can change until it is committed or rolled back."""
        if self.locks[key] is not None:
            raise Blocked
        self.locks[key] = action
        return self.next_version(key)

    def _unlock(self, action: Action) -> None:
        self.locks.update({key: None for key, holder in self.locks.items() if holder is action})

    # What happens to all of it.

    def kill(self, process: Process) -> None:
        """The process dies, and another takes its place."""
        for action in [action for action in self.actions if action.process is process]:
            with process.acting():
                action.operation.close()
            self._over(action)
            if action.version:
                self.wounds.update(action.wanted)
        self.wounds.update(process.owes)
        self._disturb(KEYS)
        self.processes[self.processes.index(process)] = successor = Process(self)
        successor.floor = dict(self.floor)

    def settle(self, process: Process) -> None:
        with process.acting():
            effects.drive(process.owed.settle())
        self._note_settled(process)

    def deliver(self, process: Process) -> None:
        """What Redis has to say of written keys reaches the process's tier."""
        self._listen()
        for message in process.messages:
            process.tier.invalidated(name.decode() for name in message or ())
        process.messages.clear()
        self._in_touch(process)

    def lose_tracking(self, process: Process) -> None:
        """The tier's connection breaks, with all that was on its way, and is made anew."""
        process.tier.lose()
        process.tier.extend(FOR_EVER)
        self._listen()
        process.messages.clear()
        self._in_touch(process)

    def _in_touch(self, process: Process) -> None:
        for key in KEYS:
            process.floor[key] = max(process.floor[key], self.floor[key])

    def _listen(self) -> None:
        wanted = time.monotonic()
        self.feed.beat(wanted)
        heard: list[list[bytes] | None] = []
        while self.feed.known < wanted:
            heard += self.feed.read()
        for process in self.processes:
            process.messages += heard

    def evict(self, name: str) -> None:
        self._disturb(KEYS)
        self.redis.delete(name)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self._disturb(KEYS)
        if self.feed:
            self._listen()
        gone = [name for value in NAMES for name in (value, keys.flight(value)) if self._age(name, seconds)]
        if self.feed:
            self._forget_heard(gone)
        for process in self.processes:
            tier = process.tier
            for entry in tier._entries.values() if tier else ():
                entry.expires -= seconds

    def _forget_heard(self, gone: list[str]) -> None:
        """Redis tells of our ageing a value, which it would not of its growing old; it does of an expiry."""
        before = [list(process.messages) for process in self.processes]
        self._listen()
        for process, messages in zip(self.processes, before, strict=True):
            process.messages = [*messages, *([name.encode()] for name in gone if name in NAMES)]

    def _age(self, name: str, seconds: float) -> bool:
        """Have a key be as if it had been there some seconds longer; whether it has expired."""
        left = self.redis.pttl(name) - round(seconds * 1000)
        if left <= 0:
            return bool(self.redis.delete(name))
        self.redis.pexpire(name, left)
        if name in NAMES:
            data: Any = self.redis.get(name)
            version, tags, fresh_until, load_time = _HEADER.unpack_from(data)
            head = _HEADER.pack(version, tags, fresh_until - seconds, load_time)
            self.redis.set(name, head + data[_HEADER.size :], keepttl=True)
        return False

    # The end.

    def quiesce(self) -> None:
        """All that is under way ends; then nothing may be left over, and everybody sees the newest."""
        self._finish()
        for process in self.processes:
            self.settle(process)
        for process in self.processes if self.feed else ():
            self.deliver(process)
        self._assert_newest(set(KEYS) - self.wounds)
        self.advance(self.longest)
        self._assert_newest(set(KEYS))
        for process in self.processes:
            assert not process.flights._loading
            assert not process.flights._listening

    def _finish(self) -> None:
        for _ in range(1000):
            if not self.actions:
                return
            before = [id(action.effect) for action in self.actions]
            for action in list(self.actions):
                self.step(action)
            if before == [id(action.effect) for action in self.actions]:
                self.advance(LEASE)
        raise AssertionError(f"{self.actions} do not end")

    def _assert_newest(self, wanted: set[int]) -> None:
        for process in self.processes:
            for key in wanted:
                action = self.read(process, [key])
                action.floor[key] = self.committed(key)
                self._finish()


# --- The operations, as `Cached` composes them ------------------------------------------------------------------------


def value_of(version: int) -> int | None:
    return None if version % 4 == 3 else version


def reading(thing: Cached[Any], wanted: Sequence[int]) -> Operation:
    """As `Cached.get_many`."""
    found, left = thing._from_tier(list(wanted))
    if not left:
        return found
    quick = yield Do(lambda _: thing._engine.quick(left))
    if quick is None:
        return {**found, **(yield from thing._engine.read(left))}
    there, missing = quick
    return {**found, **(yield from thing._engine.complete(missing, there))}


def forgetting(thing: Cached[Any], key: int) -> Operation:
    yield from thing._engine.forget([thing.name_of(key)])


def writing_aside(world: World, process: Process, key: int) -> Operation:
    """A change that is committed, and the invalidation after it."""
    yield Do(lambda action: world.commit(key, world.next_version(key), action))
    yield from forgetting(process.thing, key)


def writing_through(world: World, process: Process, key: int, rolled_back: bool) -> Operation:
    """As `Cached.set`: the row is locked from the writer's change to the commit or rollback."""
    engine, place = process.thing._engine, process.thing.place(key)
    version = yield Do(partial(world.lock, key))
    claimed = yield from engine.claim_write(place)
    if rolled_back:
        yield Do(world._unlock)
        if claimed:
            yield from engine.give_up(place)
        return
    yield Do(partial(world.commit, key, version))
    yield from engine.put(place, value_of(version)) if claimed else engine.forget([place.name])
