"""Sessions in Redis that never take an outage for a sign-out, and that can be found and ended by their person.

Django's own cache store swallows every error of `load`: with Redis away a signed-in person becomes anonymous and the
middleware deletes the cookie. Here an error is `SessionUnavailable`, which the middleware answers with a 503 page.

Every stored session of a signed-in person is in a Set of that person's: the list of their devices, and what signs
them out everywhere. A session outside of this module is the SHA-256 of its key, from which no cookie can be made.
"""

import hashlib
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.core.cache import caches
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from intellicolab.redis import codec, keys
from intellicolab.redis.breaker import Breaker
from intellicolab.redis.client import Role, async_client, client
from intellicolab.redis.direct import aask

from .signals import sessions_ended

logger = logging.getLogger("accounts")


class SessionUnavailable(Exception):
    """The session store did not answer; nothing is known about who is signed in."""


LOOK_AT_ONCE = 500  # sessions a pipeline

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


def hash_of(session_key: str) -> str:
    return hashlib.sha256(session_key.encode()).hexdigest()


def name_of(session: str) -> str:
    """The whole Redis key of a session, given its hash, as django-redis makes it."""
    return str(caches[settings.SESSION_CACHE_ALIAS].client.make_key(session))  # type: ignore[attr-defined]


# --- A person's sessions: the same commands for sync and async pipelines ---------------------------------------------


def _enlist(pipeline: Any, user_id: int, session: str, age: int) -> Any:
    """The Set outlives the longest of its sessions (`age` seconds), and goes when the last one is over."""
    name = keys.sessions_of(user_id)
    return pipeline.sadd(name, session).expire(name, age, nx=True).expire(name, age, gt=True)


def _strike(pipeline: Any, user_id: int, sessions: Collection[str]) -> Any:
    pipeline.srem(keys.sessions_of(user_id), *sessions)
    for session in sessions:
        pipeline.delete(keys.device(user_id, session))
    return pipeline


def _remove(pipeline: Any, user_id: int, sessions: Collection[str]) -> Any:
    for session in sessions:
        pipeline.delete(name_of(session))
    return _strike(pipeline, user_id, sessions)


def end(user_id: int, sessions: Collection[str], renewed: bool = False) -> int:
    """Delete these sessions (hashes) of a person, at once and everywhere; returns how many there were.

    Whoever listens to `sessions_ended` hears of it. Raises SessionUnavailable, and can then simply be called again.
    """
    if not sessions:
        return 0
    with outages_told():
        done = _remove(client(Role.STATE).pipeline(transaction=False), user_id, sessions).execute()
    sessions_ended.send(sender=None, user_id=user_id, sessions=list(sessions), renewed=renewed)
    return sum(done[: len(sessions)])


async def aend(user_id: int, sessions: Collection[str], renewed: bool = False) -> None:
    """As `end`, for async code."""
    with outages_told():
        await _remove(async_client(Role.STATE).pipeline(transaction=False), user_id, sessions).execute()
    sessions_ended.send(sender=None, user_id=user_id, sessions=list(sessions), renewed=renewed)


def strike(user_id: int, sessions: Collection[str]) -> None:
    """Take sessions that are over off their person's list. Raises SessionUnavailable.

    One that was listed, but not yet stored, when it was looked for is on the list again afterwards.
    """
    if not sessions:
        return
    with outages_told():
        _strike(client(Role.STATE).pipeline(transaction=False), user_id, sessions).execute()
    for session in set(sessions) - missing(sessions):
        with outages_told():
            pipeline = client(Role.STATE).pipeline(transaction=False)
            _enlist(pipeline, user_id, session, settings.SESSION_COOKIE_AGE).execute()


def missing(sessions: Collection[str]) -> set[str]:
    """Those of these sessions (hashes) that are no longer there: ended or expired. Raises SessionUnavailable.

    In pipelines of at most LOOK_AT_ONCE, so that no single one holds up the server or the thread for long.
    """
    waiting, gone = list(sessions), set()
    while waiting:
        chunk, waiting = waiting[:LOOK_AT_ONCE], waiting[LOOK_AT_ONCE:]
        with outages_told():
            pipeline = client(Role.STATE).pipeline(transaction=False)
            for session in chunk:
                pipeline.exists(name_of(session))
            gone |= {session for session, there in zip(chunk, pipeline.execute(), strict=True) if not there}
    return gone


async def amissing(session: str) -> bool:
    """Whether this session (a hash) is no longer there. Raises SessionUnavailable."""
    with outages_told():
        return not await aask(async_client(Role.STATE), "EXISTS", name_of(session))


class SessionStore(SessionBase):
    """One session, a JSON value with a time to live, kept by django-redis under the hash of its key.

    Who reads Redis or its append-only file finds hashes, from which no cookie can be made. The async methods use the
    asyncio client under the same names, because Django's async cache calls hop to a thread each.
    """

    @property
    def _cache(self) -> Any:
        """For the sync methods. Django would make one a task, too, and no socket's needs any."""
        return caches[settings.SESSION_CACHE_ALIAS]

    # --- What is stored, and where -----------------------------------------------------------------------------

    @property
    def hash(self) -> str | None:
        """What the session is called outside of its cookie; None before it is first saved."""
        return hash_of(self.session_key) if self.session_key else None

    @property
    def user_id(self) -> int | None:
        """Whose session it is, if it is loaded and somebody is signed in; reading it counts as no access."""
        user_id = getattr(self, "_session_cache", {}).get(SESSION_KEY)
        return int(user_id) if user_id is not None else None

    def _renews(self, session_key: str) -> bool:
        """Whether the deleted key is an old one of a session that goes on under another (`cycle_key`)."""
        return self.session_key not in (None, session_key)

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

    async def apreload(self) -> None:
        """As `preload`, for async code."""
        if self.session_key is not None and not hasattr(self, "_session_cache"):
            self._session_cache = await self.aload()

    # --- Sync --------------------------------------------------------------------------------------------------

    def load(self) -> dict[str, Any]:
        if self.session_key is None:
            return {}
        with outages_told():
            try:
                data = self._cache.get(hash_of(self.session_key))
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
        """Write in one step: only a new key, or only one that is there, so a session ended elsewhere stays ended.

        It is listed before: no session of a person may be one that signing out everywhere does not find.
        """
        if self.session_key is None:
            return self.create()
        data = self._get_session(no_load=must_create)  # type: ignore[attr-defined]
        session, age = hash_of(self.session_key), self.get_expiry_age()
        with outages_told():
            if self.user_id is not None:
                _enlist(client(Role.STATE).pipeline(transaction=False), self.user_id, session, age).execute()
            done = self._cache.set(session, data, age, nx=must_create, xx=not must_create)
        if not done:
            raise CreateError if must_create else UpdateError
        return None

    def exists(self, session_key: str | None) -> bool:
        if not session_key:
            return False
        with outages_told():
            return bool(self._cache.has_key(hash_of(session_key)))

    def delete(self, session_key: str | None = None) -> None:
        session_key = session_key or self.session_key
        if session_key and self.user_id is not None:
            end(self.user_id, [hash_of(session_key)], self._renews(session_key))
        elif session_key:
            with outages_told():
                self._cache.delete(hash_of(session_key))

    def flush(self) -> None:
        """Deleted while it is still known whose it is; Django's order is the other one."""
        self._get_session()  # type: ignore[attr-defined]
        self.delete()
        self.clear()
        self._session_key = None

    # --- Async -------------------------------------------------------------------------------------------------

    async def aload(self) -> dict[str, Any]:
        if self.session_key is None:
            return {}
        with outages_told():
            stored = await aask(async_client(Role.STATE), "GET", name_of(hash_of(self.session_key)))
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
        session, age, redis = hash_of(self.session_key), await self.aget_expiry_age(), async_client(Role.STATE)
        with outages_told():
            if self.user_id is not None:
                await _enlist(redis.pipeline(transaction=False), self.user_id, session, age).execute()
            done = await redis.set(name_of(session), data, px=age * 1000, nx=must_create, xx=not must_create)
        if not done:
            raise CreateError if must_create else UpdateError
        return None

    async def aexists(self, session_key: str | None) -> bool:
        if not session_key:
            return False
        with outages_told():
            return bool(await async_client(Role.STATE).exists(name_of(hash_of(session_key))))

    async def adelete(self, session_key: str | None = None) -> None:
        session_key = session_key or self.session_key
        if session_key and self.user_id is not None:
            await aend(self.user_id, [hash_of(session_key)], self._renews(session_key))
        elif session_key:
            with outages_told():
                await async_client(Role.STATE).delete(name_of(hash_of(session_key)))

    async def aflush(self) -> None:
        await self._aget_session()  # type: ignore[attr-defined]
        await self.adelete()
        self.clear()
        self._session_key = None

    @classmethod
    def clear_expired(cls) -> None:
        """Nothing: Redis lets sessions expire by itself."""

    @classmethod
    async def aclear_expired(cls) -> None:
        """Nothing: Redis lets sessions expire by itself."""
