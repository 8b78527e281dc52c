"""Who asks: the address, and as much of the person as a policy wants to know.

Nothing here reads a database: the person comes from the session, which the page reads anyway, and the tier from the
module that RATELIMIT_TIERS names, which has it cached. It is never `request.user`, which is a query.
"""

import logging
from functools import cache, cached_property
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from django.conf import settings
from django.contrib.auth import SESSION_KEY, get_user_model
from django.core.exceptions import ValidationError
from django.db import Error as DatabaseFault
from django.http import HttpRequest

logger = logging.getLogger("ratelimit")

ANONYMOUS, AUTHENTICATED, STAFF = "anonymous", "authenticated", "staff"


class Tier(Protocol):
    """What a person counts as: `kind` is AUTHENTICATED or STAFF."""

    @property
    def kind(self) -> str: ...

    @property
    def groups(self) -> tuple[str, ...]: ...


class Tiers(Protocol):
    """What RATELIMIT_TIERS names. None: there is no such person, or they cannot sign in any more."""

    def tier_of(self, user_id: int) -> Tier | None: ...

    async def atier_of(self, user_id: int) -> Tier | None: ...


class Caller:
    """`address` as `address.py` finds it, `session` and `api_key` as they were sent; empty for none.

    `given` is whom the code itself names, such as the account that somebody wants to sign in to.
    """

    def __init__(self, address: str = "", session: str = "", api_key: str = "", given: str = "") -> None:
        self.address = address
        self.session = session
        self.api_key = api_key
        self.given = given

    user_id: int | None = None  # of who is signed in

    @cached_property
    def tier(self) -> Tier | None:
        if self.user_id is None:
            return None
        try:
            return tiers().tier_of(self.user_id)
        except DatabaseFault as error:
            return _unknown(error)

    async def load(self) -> None:
        """Find out on the running event loop what the properties would otherwise block for.

        Whoever stays for long, as at a socket, asks again each time: a tier may change.
        """
        if self.user_id is None:
            return
        try:
            tier = await tiers().atier_of(self.user_id)
        except DatabaseFault as error:
            tier = _unknown(error)
        self.__dict__["tier"] = tier

    # What has been found out so far, without doing so:

    @property
    def known_user_id(self) -> int | None:
        return self.__dict__.get("user_id")

    @property
    def known_kind(self) -> str:
        tier = self.__dict__.get("tier")
        return (ANONYMOUS if self.known_user_id is None else AUTHENTICATED) if tier is None else tier.kind

    @property
    def known_groups(self) -> tuple[str, ...]:
        tier = self.__dict__.get("tier")
        return () if tier is None else tier.groups

    @property
    def kind(self) -> str:
        return ANONYMOUS if self.tier is None else self.tier.kind

    @property
    def groups(self) -> tuple[str, ...]:
        return () if self.tier is None else self.tier.groups


class Visitor(Caller):
    """Who sent an HTTP request; its cookies, and the session of one, are read when a policy asks for them."""

    def __init__(self, request: HttpRequest, given: str = "") -> None:
        self._request = request
        self.address = request.META.get("REMOTE_ADDR", "")
        self.given = given

    @cached_property
    def session(self) -> str:  # type: ignore[override]
        return self._request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")

    @cached_property
    def api_key(self) -> str:  # type: ignore[override]
        return self._request.META.get(_api_key_header(settings.RATELIMIT_API_KEY_HEADER), "")

    @cached_property
    def user_id(self) -> int | None:  # type: ignore[override]
        session = self._session()
        if session is None:
            return None
        # Where the session's store tells without being asked for a value, the answer need not vary by the cookie.
        known = getattr(session, "user_id", session)
        return _user_id(session.get(SESSION_KEY)) if known is session else known

    async def load(self) -> None:
        session = self._session()
        if session is not None:
            self.__dict__["user_id"] = _user_id(await session.aget(SESSION_KEY))
        await super().load()

    def _session(self) -> Any:
        """None where no cookie was sent, or no middleware reads it."""
        return getattr(self._request, "session", None) if self.session else None


class Member(Caller):
    """A person who is known already, such as at the other end of a socket; None for a visitor."""

    def __init__(self, user_id: int | None, address: str = "", session: str = "", api_key: str = "") -> None:
        super().__init__(address, session, api_key)
        self.user_id = user_id


class SignedIn(NamedTuple):
    """The tier of somebody of whom no more is known."""

    kind: str = AUTHENTICATED
    groups: tuple[str, ...] = ()


def _unknown(error: DatabaseFault) -> Tier:
    """Nobody is kept from what needs no database because it can't be asked about them."""
    logger.warning("A tier could not be read (%s): its person counts as any other.", error)
    return SignedIn()


@cache
def tiers() -> Tiers:
    return import_module(settings.RATELIMIT_TIERS)


@cache
def _api_key_header(name: str) -> str:
    return "HTTP_" + name.upper().replace("-", "_")


def _user_id(stored: Any) -> int | None:
    """A session may hold anything, such as the key of a user model that was replaced since."""
    try:
        return None if stored is None else get_user_model()._meta.pk.to_python(stored)
    except ValidationError:
        return None
