"""Signals of the moment: plain pub/sub. Who listens now hears them, and nobody else ever will.

Whatever must not be lost is a fact (`outbox.emit`); a signal is for what is useless a second later, or what somebody
finds out by themselves if they miss it.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from redis.exceptions import RedisError

from intellicolab.redis import codec, keys
from intellicolab.redis.client import Purpose, Role, async_client, client
from intellicolab.redis.pauses import pause_after

from .schema import Event, UnknownEvent, UnreadableEvent, decode, encode

logger = logging.getLogger("intellicolab.events")

LOOK = 1.0  # seconds of one wait for a message: how late a listener sees that it is to end
LONGEST_PAUSE = 5.0  # seconds, while Redis is away

Listening = Callable[[Any], None]
F = TypeVar("F", bound=Listening)

_listening: dict[str, list[Listening]] = {}


class Message(msgspec.Struct, array_like=True, frozen=True):
    """What goes over the channel of a name: the event's version and its fields as JSON."""

    version: int
    data: str


def signal(event: Event) -> bool:
    """Tell whoever listens now. Whether Redis took it; it is not sent again, and waits 50 ms at most."""
    try:
        client(Role.STATE, Purpose.FAST).publish(*_message(event))
    except (RedisError, OSError) as error:
        return _lost(event, error)
    return True


async def asignal(event: Event) -> bool:
    """As `signal`, on the running event loop."""
    try:
        await async_client(Role.STATE, Purpose.FAST).publish(*_message(event))
    except (RedisError, OSError) as error:
        return _lost(event, error)
    return True


def _message(event: Event) -> tuple[str, bytes]:
    return keys.signal(event.name), codec.encode(Message(event.version, encode(event)))


def _lost(event: Event, error: Exception) -> bool:
    logger.debug("Nobody was told of %s: %s", event.name, error)
    return False


def listen(name: str) -> Callable[[F], F]:
    """Have a function called with each signal of that name, in the thread of this process's `Listener`.

    It must not take long: others wait. What it raises is logged.
    """

    def register(function: F) -> F:
        _listening.setdefault(name, []).append(function)
        return function

    return register


class Listener:
    """A service of a process: one thread and one connection for the signals that something here listens to."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failures = 0
        self.listens = threading.Event()  # set while it is subscribed

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2 * LOOK)

    def _run(self) -> None:
        while _listening and not self._stop.is_set():
            try:
                self._hear()
            except (RedisError, OSError) as error:
                logger.debug("Signals are not heard: %s", error)
                self._failures += 1
                self._stop.wait(pause_after(self._failures, first=0.1, longest=LONGEST_PAUSE))
            finally:
                self.listens.clear()

    def _hear(self) -> None:
        names = {keys.signal(name): name for name in _listening}
        with client(Role.STATE, Purpose.BLOCKING).pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(*names)
            self.listens.set()
            self._failures = 0
            while not self._stop.is_set():
                message = subscription.get_message(timeout=LOOK)
                if message is not None:
                    tell(names[message["channel"].decode()], message["data"])


def tell(name: str, payload: bytes) -> None:
    """Call everybody in this process who listens to that name; a fault of one keeps nobody else."""
    try:
        message = codec.decode(payload, Message)
        assert isinstance(message, Message)
        event = decode(name, message.version, message.data)
    except (codec.CodecError, UnknownEvent, UnreadableEvent) as error:
        logger.warning("A signal was not understood: %s", error)
        return
    for function in _listening.get(name, ()):
        try:
            function(event)
        except Exception:  # it is another's code, and the thread serves everybody
            logger.exception("%s failed with %s", function.__qualname__, name)
