"""One connection that Redis sends invalidations on, and how far it can be trusted to have sent them all."""

import socket
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Any

from redis.exceptions import TimeoutError

from intellicolab.redis.client import Primary
from intellicolab.redis.connections import SYNC_CLASSES, Link

HEARTBEAT = 1.0  # seconds between two PINGs
DEADLINE = 1.0  # seconds that an answer may take; then the connection counts as lost
TURN = 1000  # messages read before other connections have their turn


class _Unlogged(Link):
    """Connections log by themselves; here who uses the feeds does, because only all of them together are of use."""

    def _change(self, up: bool) -> bool:
        return False


class Feed:
    """`CLIENT TRACKING ON BCAST` on a connection of its own to one primary; used by one thread.

    `known` (time.monotonic()) is the moment up to which every write has been told: the sending of the last PING that
    was answered. Replies and invalidations come in one stream, so an answer has all earlier invalidations before it.
    """

    def __init__(self, primary: Primary, prefixes: Sequence[str]) -> None:
        options: dict[str, Any] = {
            **primary.options,
            "client_name": "intellicolab-cache-tracking",
            "protocol": 3,
            "decode_responses": False,
            "socket_connect_timeout": DEADLINE,
            "socket_timeout": DEADLINE,
            "link": _Unlogged("cache tracking", primary.name),
        }
        options.pop("max_connections", None)  # a pool's
        self.name = primary.name
        self._connection = SYNC_CLASSES[primary.transport](**options)
        self._prefixes = prefixes
        self._pings: deque[float] = deque()  # when those not yet answered were sent
        self._last_ping = 0.0
        self.known = 0.0
        self.more = False  # whether something waits in the parser, which the socket does not show

    def open(self) -> None:
        """Connect and ask for invalidations. Raises RedisError."""
        self._connection.connect()
        # The parser would log and swallow what a handler raises; handed through, a message is read like a reply.
        self._connection._parser.set_invalidation_push_handler(lambda message: message)
        asked = monotonic()
        arguments = [word for prefix in self._prefixes for word in ("PREFIX", prefix)]
        self._connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", *arguments, check_health=False)
        self._connection.read_response()
        self.known = self._last_ping = asked

    def close(self) -> None:
        self._connection.disconnect()

    @property
    def socket(self) -> socket.socket:
        return self._connection._sock

    @property
    def due(self) -> float:
        """When `beat` has something to do (time.monotonic())."""
        due = self._last_ping + HEARTBEAT
        return min(due, self._pings[0] + DEADLINE) if self._pings else due

    def beat(self, wanted: float) -> None:
        """PING when it is time, or to learn of all writes up to `wanted`. Raises TimeoutError past the DEADLINE."""
        now = monotonic()
        if self._pings and now >= self._pings[0] + DEADLINE:
            raise TimeoutError(f"no answer in {DEADLINE} s")
        if now >= self._last_ping + HEARTBEAT or self._last_ping < wanted:
            self._last_ping = now
            self._pings.append(now)
            self._connection.send_command("PING", check_health=False)

    def read(self) -> list[list[bytes] | None]:
        """The invalidations that have arrived: lists of keys, None for all keys. Raises RedisError."""
        invalidations: list[list[bytes] | None] = []
        self.more = False
        for _ in range(TURN):
            if not self._connection.can_read(0):
                return invalidations
            message = self._connection.read_response(push_request=True)
            if message == b"PONG":
                self.known = self._pings.popleft()
            elif isinstance(message, list) and message[0] == b"invalidate":
                invalidations.append(message[1])
        self.more = True
        return invalidations
