"""Sessions in Redis that never take an outage for a sign-out.

Django's own cache store swallows every error of `load`: with Redis away a signed-in person becomes anonymous and the
middleware deletes the cookie. Here an error is `SessionUnavailable`, which the middleware answers with a 503 page.
"""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.core.cache import caches
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from intellicolab.redis import codec
from intellicolab.redis.breaker import Breaker
from intellicolab.redis.client import Role, async_client

logger = logging.getLogger("accounts")


class SessionUnavailable(Exception):
    """The session store did not answer; nothing is known about who is signed in."""


# For a server that hangs, not for one that refuses: that costs no time, and is found again at once.
breaker = Breaker("Sessions", "pages that need one are answered with 503")


@contextmanager
def outages_told() -> Iterator[None]:
    """Turns an outage into SessionUnavailable. While the server hangs, one caller a second waits for it, not each."""
    if not breaker.ready():
        raise SessionUnavailable("the session store does not answer")
    try:
        yield
    except (RedisError, OSError) as error:
        if isinstance(error, RedisTimeout):
            breaker.failed(error)
        raise SessionUnavailable(str(error)) from error
    breaker.succeeded()


class SessionStore(SessionBase):
    """One session, a JSON value with a time to live, kept by django-redis under the hash of its key.

    Who reads Redis or its append-only file finds hashes, from which no cookie can be made. The async methods use the
    asyncio client under the same names, because Django's async cache calls hop to a thread each.
    """

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self._cache: Any = caches[settings.SESSION_CACHE_ALIAS]

    # --- What is stored, and where -----------------------------------------------------------------------------

    @staticmethod
    def _hash(session_key: str) -> str:
        return hashlib.sha256(session_key.encode()).hexdigest()

    def _name(self, session_key: str) -> str:
        """The whole Redis key, as django-redis makes it."""
        return str(self._cache.client.make_key(self._hash(session_key)))

    def _known(self, data: Any) -> dict[str, Any]:
        """The stored data; without any, the key is given up, so that no one can choose a key of their own."""
        if isinstance(data, dict):
            return data
        self._session_key = None
        return {}

    def preload(self) -> None:
        """Load now, without counting as an access: `Vary: Cookie` belongs to pages that depend on the session."""
        if self.session_key is not None and not hasattr(self, "_session_cache"):
            self._session_cache = self.load()

    # --- Sync --------------------------------------------------------------------------------------------------

    def load(self) -> dict[str, Any]:
        if self.session_key is None:
            return {}
        with outages_told():
            try:
                data = self._cache.get(self._hash(self.session_key))
            except codec.CodecError:
                logger.error("A session in Redis is not readable JSON and was given up")
                data = None
        return self._known(data)

    def create(self) -> None:
        while True:
            self._session_key = self._get_new_session_key()  # type: ignore[attr-defined]
            try:
                self.save(must_create=True)
            except CreateError:  # the key was taken meanwhile
                continue
            self.modified = True
            return

    def save(self, must_create: bool = False) -> None:
        """Write in one step: only a new key, or only one that is there, so a session ended elsewhere stays ended."""
        if self.session_key is None:
            return self.create()
        data = self._get_session(no_load=must_create)  # type: ignore[attr-defined]
        with outages_told():
            done = self._cache.set(
                self._hash(self.session_key),
                data,
                self.get_expiry_age(),
                nx=must_create,
                xx=not must_create,
            )
        if not done:
            raise CreateError if must_create else UpdateError
        return None

    def exists(self, session_key: str | None) -> bool:
        if not session_key:
            return False
        with outages_told():
            return bool(self._cache.has_key(self._hash(session_key)))

    def delete(self, session_key: str | None = None) -> None:
        session_key = session_key or self.session_key
        if session_key:
            with outages_told():
                self._cache.delete(self._hash(session_key))

    # --- Async -------------------------------------------------------------------------------------------------

    async def aload(self) -> dict[str, Any]:
        if self.session_key is None:
            return {}
        with outages_told():
            stored: Any = await async_client(Role.STATE).get(self._name(self.session_key))
        try:
            return self._known(codec.decode(stored) if stored else None)
        except codec.CodecError:
            logger.error("A session in Redis is not readable JSON and was given up")
            return self._known(None)

    async def acreate(self) -> None:
        while True:
            self._session_key = await self._aget_new_session_key()  # type: ignore[attr-defined]
            try:
                await self.asave(must_create=True)
            except CreateError:
                continue
            self.modified = True
            return

    async def asave(self, must_create: bool = False) -> None:
        if self.session_key is None:
            return await self.acreate()
        data = codec.encode(await self._aget_session(no_load=must_create))  # type: ignore[attr-defined]
        age = await self.aget_expiry_age()
        with outages_told():
            done = await async_client(Role.STATE).set(
                self._name(self.session_key), data, px=age * 1000, nx=must_create, xx=not must_create
            )
        if not done:
            raise CreateError if must_create else UpdateError
        return None

    async def aexists(self, session_key: str | None) -> bool:
        if not session_key:
            return False
        with outages_told():
            return bool(await async_client(Role.STATE).exists(self._name(session_key)))

    async def adelete(self, session_key: str | None = None) -> None:
        session_key = session_key or self.session_key
        if session_key:
            with outages_told():
                await async_client(Role.STATE).delete(self._name(session_key))

    @classmethod
    def clear_expired(cls) -> None:
        """Nothing: Redis lets sessions expire by itself."""

    @classmethod
    async def aclear_expired(cls) -> None:
        """Nothing: Redis lets sessions expire by itself."""
