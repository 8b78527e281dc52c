"""Whom a limit counts against, as a keyed hash: Redis holds nobody's address, key or session in clear."""

import base64
import hashlib
import hmac
from functools import lru_cache
from typing import NamedTuple

from django.conf import settings

from .address import group
from .caller import Caller

ADDRESS, USER, API_KEY, SESSION, GIVEN = "address", "user", "api_key", "session", "given"
USER_OR_ADDRESS = "user_or_address"

LONGEST = 200  # characters of a name that are kept as they came: thousands of names are
SHOWN = 4  # characters of a secret by which its owner may know it


class Identity(NamedTuple):
    """`hashed` is 22 letters, digits, - and _ (128 bits): whatever the name contains, it is safe in a key.

    The same name of another kind is somebody else.
    """

    kind: str
    name: str
    hashed: str

    @property
    def readable(self) -> str:
        """For the list of offenders; of a secret, only its beginning."""
        if self.kind in (API_KEY, SESSION):
            return f"{self.name[:SHOWN]}…"
        return self.name


def whom(kind: str, caller: Caller) -> tuple[str, str]:
    """Whom a policy counts against: a kind and a name, which is empty where the caller is nobody of that kind.

    The addresses of one IPv6 /64 are one; so is all that is no address.
    """
    if kind == USER_OR_ADDRESS:
        kind = ADDRESS if caller.user_id is None else USER
    if kind == ADDRESS:
        return kind, group(caller.address)
    return kind, short(_name(kind, caller))


def _name(kind: str, caller: Caller) -> str:
    match kind:
        case "user":
            return "" if caller.user_id is None else str(caller.user_id)
        case "api_key":
            return caller.api_key
        case "session":
            return caller.session
        case _:
            return caller.given


def short(name: str) -> str:
    """A name that a client made so long that it would fill the memory, as its beginning and its digest."""
    if len(name) <= LONGEST:
        return name
    return name[:SHOWN] + hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()


def named(kind: str, name: str) -> Identity:
    return _named(settings.SECRET_KEY, kind, short(name))


@lru_cache(maxsize=10_000)
def _named(key: str, kind: str, name: str) -> Identity:
    """A plain hash of an address can be undone by trying all of them, so it is keyed with SECRET_KEY (RFC 2104)."""
    text = f"ratelimit.{kind}:{name}".encode(errors="surrogatepass")
    digest = hmac.digest(key.encode(), text, hashlib.sha256)
    return Identity(kind, name, base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode())
