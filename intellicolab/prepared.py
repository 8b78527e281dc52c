"""Prepared frames: an extension of the ASGI scope, for who sends the same frame to many sockets.

A server frame is neither masked nor, here, compressed, so its bytes are the same for everyone: they are made once and
written straight to each transport, past the server's own `send`. The function that writes them is in the scope as
`scope["extensions"]["intellicolab.prepared"]["write"]`, only on transports known to carry such bytes as they are.
Everywhere else, plain `send` does the work.
"""

import logging
import struct
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

logger = logging.getLogger("intellicolab")

EXTENSION = "intellicolab.prepared"

# Seconds that a client has for what waits for it and the close frame behind that; then the connection is cut.
CLOSE_SECONDS = 10

Write = Callable[[bytes], int | None]
"""Writes whole frames behind everything written before, and returns at once how many bytes the kernel has not taken.

None: nothing was written, because the socket is not open (not accepted yet, closing, closed); ask plain `send`.
"""

_TEXT = 0x81  # FIN and the opcode of text (RFC 6455, section 5.2)
_MEDIUM = struct.Struct("!BBH")
_LONG = struct.Struct("!BBQ")


def encode(text: str) -> bytes:
    """The text as one frame from server to client (RFC 6455, section 5.2)."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return bytes((_TEXT, size)) + payload
    if size < 1 << 16:
        return _MEDIUM.pack(_TEXT, 126, size) + payload
    return _LONG.pack(_TEXT, 127, size) + payload


def encode_all(texts: Iterable[str]) -> bytes:
    """The frames of many texts, one behind the other."""
    return b"".join(map(encode, texts))


def offer(scope: dict[str, Any], write: Write) -> None:
    """Put the extension into the scope of a socket; a server does, before it starts the application."""
    scope.setdefault("extensions", {})[EXTENSION] = {"write": write}


def write_of(scope: Mapping[str, Any]) -> Write | None:
    """What the server offers for this socket; None where only plain `send` will do."""
    return scope.get("extensions", {}).get(EXTENSION, {}).get("write")


class Proof:
    """The versions that a writer was proven with. It reaches into the server's inside, which may change any day.

    So it is used only with those, and only while the inside looks as it did; the first doubt is logged and is the last.
    """

    def __init__(self, server: str, **versions: str) -> None:
        self._server = server
        self.holds = True
        for package, proven in versions.items():
            found = _installed(package)
            if not f"{found}.".startswith(f"{proven}."):
                self.doubt(f"{package} is {found}, and {proven} was proven")

    def covers(self, thing: object, kinds: Mapping[str, type]) -> bool:
        """Whether the thing still has these attributes, each of its kind."""
        if self.holds and (name := changed(thing, kinds)):
            self.doubt(f"{type(thing).__name__}.{name} is not what it was")
        return self.holds

    def doubt(self, why: str) -> None:
        if self.holds:
            self.holds = False
            logger.warning(
                "Chat on %s goes the slower way of plain sends: %s. Install the versions of requirements.txt.",
                self._server,
                why,
            )


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # its modules may be there, as some systems pack them
        return "of an unknown version"


def changed(thing: object, kinds: Mapping[str, type]) -> str:
    """The first of these attributes that is missing or of another kind; "" if all are as expected."""
    return next((name for name, kind in kinds.items() if not isinstance(getattr(thing, name, None), kind)), "")
