"""Consumers: threads of the worker, each of which takes a group's entries of one stream and handles them."""

import logging
import os
import random
import secrets
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.db import DatabaseError, close_old_connections, connections
from redis.exceptions import RedisError, ResponseError

from intellicolab.redis import keys, scripts
from intellicolab.redis.client import Purpose, Role, client
from intellicolab.redis.missing import is_missing
from intellicolab.redis.pauses import pause_after

from .groups import Group
from .handling import Entry, Outcome, handle
from .models import Pause

logger = logging.getLogger("intellicolab.events")

BLOCK = 1.0  # seconds of one wait for entries: how late a consumer sees that it is to end
CLAIM_SECONDS = 1.0  # between two looks for tries that are due and for consumers that went silent
LONGEST_DELAY = 600.0  # seconds between two tries
LONGEST_PAUSE = 10.0  # seconds, while Redis or the database is away
STOP_SECONDS = 10.0  # for the batch that is being handled; `serve` grants 15

_claim = scripts.load(Path(__file__).parent, "claim")
_later = scripts.load(Path(__file__).parent, "later")
# A worker's consumers are told apart from those of all workers before it: an entry says whose it is.
_WORKER = f"{os.getpid()}-{secrets.token_hex(4)}"


class Consumer:
    """One consumer of a group's entries in one stream."""

    def __init__(self, group: Group, stream: str, number: int = 0) -> None:
        self.group, self.stream, self.name = group, stream, f"{_WORKER}-{number}"
        self._key, self._retries = keys.event_stream(stream), keys.event_retries(stream, group.name)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{group.name}:{stream}", daemon=True)
        self._in_hand: tuple[str, ...] = ()
        self._from, self._claim_at = "-", 0.0
        self._failures = 0

    def start(self) -> None:
        self._thread.start()

    def ask_to_stop(self) -> None:
        self._stop.set()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def renew(self) -> None:
        """What it handles now is not anybody's yet. Called by another thread; raises RedisError."""
        if ids := self._in_hand:
            client(Role.STATE).xclaim(self._key, self.group.name, self.name, 0, [*ids], justid=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._work()
                self._failures = 0
            except (RedisError, OSError, DatabaseError) as error:
                self._pause(error)
            except Exception as error:  # ours; the thread must live, or the group stands still until a restart
                logger.exception("A consumer of %s could not work", self.group.name)
                self._pause(error)
        connections.close_all()

    def _work(self) -> None:
        close_old_connections()
        if self._is_paused():
            self._stop.wait(CLAIM_SECONDS)
            return
        entries = self._claimed() or self._fresh()
        if entries:
            self._finish(entries)

    def _is_paused(self) -> bool:
        return Pause.objects.filter(group=self.group.name).exists()

    # --- Taking ----------------------------------------------------------------------------------------------------

    def _claimed(self) -> list[Entry]:
        """Tries that are due, and what killed consumers have left behind."""
        if time.monotonic() < self._claim_at:
            return []
        silence = round(self.group.silence * 1000)
        args: list[scripts.Argument] = [self.group.name, self.name, self.group.batch, silence, self._from]
        try:
            found, following, tries = _claim(client(Role.STATE), [self._key, self._retries], args)
        except ResponseError as error:
            self._make_group(error)
            return []
        self._from = following.decode()
        if self._from == "-" and not found:
            self._claim_at = time.monotonic() + CLAIM_SECONDS
        return [_entry(place, _fields(pairs), count) for (place, pairs), count in zip(found, tries, strict=True)]

    def _fresh(self) -> list[Entry]:
        """What no consumer has had yet; waits a second for it."""
        waiting = client(Role.STATE, Purpose.WAITING)
        try:
            answer: Any = waiting.xreadgroup(
                self.group.name, self.name, {self._key: ">"}, count=self.group.batch, block=round(BLOCK * 1000)
            )
        except ResponseError as error:
            self._make_group(error)
            return []
        return [_entry(place, fields) for _key, entries in answer or () for place, fields in entries]

    def _make_group(self, error: ResponseError) -> None:
        """From the beginning: what was appended before the first consumer came is the group's as well."""
        if not is_missing(error):
            raise error
        try:
            client(Role.STATE).xgroup_create(self._key, self.group.name, id="0", mkstream=True)
        except ResponseError as made:
            if "BUSYGROUP" not in str(made):
                raise

    # --- Handling --------------------------------------------------------------------------------------------------

    def _finish(self, entries: list[Entry]) -> None:
        """Handle and acknowledge; while the database is away they are kept, and tried again."""
        self._in_hand = tuple(map(_id, entries))
        try:
            outcome = self._handled(entries)
            if outcome is not None:
                self._settle(outcome)
        finally:
            self._in_hand = ()

    def _handled(self, entries: list[Entry]) -> Outcome | None:
        """None when it was told to stop before the database came back."""
        while not self._stop.is_set():
            try:
                return handle(self.group, self.stream, entries)
            except DatabaseError as error:
                self._pause(error)
                close_old_connections()
        return None

    def _settle(self, outcome: Outcome) -> None:
        """After the handlers' commit. If Redis is away now, others get the entries again and find them handled."""
        state = client(Role.STATE)
        if outcome.again:
            delays = [part for entry in outcome.again for part in (_id(entry), _delay_ms(entry.tries))]
            _later(state, [self._retries], list(delays))
        if outcome.through:
            state.xack(self._key, self.group.name, *map(_id, outcome.through))

    def _pause(self, error: Exception) -> None:
        if not self._failures:
            logger.error("%s cannot work and tries again: %s", self.group.name, error)
        self._failures += 1
        self._stop.wait(pause_after(self._failures, first=0.2, longest=LONGEST_PAUSE))


def _delay_ms(tries: int) -> int:
    """1, 4, 16, 64 … seconds, half of it at random: what failed together must not come again together."""
    delay: float = min(4.0 ** (tries - 1), LONGEST_DELAY)
    return round(1000 * delay * random.uniform(0.5, 1.0))  # noqa: S311  jitter, not a secret


def _id(entry: Entry) -> str:
    return f"{entry.position}-0"


def _fields(pairs: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def _entry(place: bytes, fields: dict[bytes, bytes], tries: int = 1) -> Entry:
    position, version = int(place.split(b"-")[0]), int(fields[b"v"])
    return Entry(position, fields[b"n"].decode(), version, fields[b"d"], tries, fields.get(b"g", b"").decode())


class Consumers:
    """A service of `manage.py worker`: the consumers of some groups."""

    def __init__(self, chosen: Sequence[Group]) -> None:
        self._consumers = [
            Consumer(group, stream, number)
            for group in chosen
            for stream in sorted(group.streams)
            for number in range(group.concurrency)
        ]
        self._interval = min((group.silence for group in chosen), default=60.0) / 3
        self._stop = threading.Event()
        self._renewing = threading.Thread(target=self._renew_always, name="renewal", daemon=True)

    def start(self) -> None:
        for consumer in self._consumers:
            consumer.start()
        self._renewing.start()

    def stop(self) -> None:
        """What is being handled is finished and acknowledged; what is left waits in Redis for the next worker."""
        for consumer in self._consumers:
            consumer.ask_to_stop()
        deadline = time.monotonic() + STOP_SECONDS
        for consumer in self._consumers:
            consumer.join(max(0.0, deadline - time.monotonic()))
        self._stop.set()

    def _renew_always(self) -> None:
        while not self._stop.wait(self._interval):
            for consumer in self._consumers:
                try:
                    consumer.renew()
                except (RedisError, OSError) as error:
                    logger.debug("%s could not be renewed: %s", consumer.name, error)
