"""System checks: what would lose data or sessions, or shut people out, is said at start, with an id and a hint.

Errors (E) stop the start; warnings (W) are printed. `check --deploy` runs those that ask a server.
docs/deployment.md lists them.
"""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from redis.exceptions import RedisError

from .redis import addresses
from .redis.addresses import Address, Kind, safe_url
from .redis.client import Role, reports


@register(Tags.caches)
def redis_addresses(**kwargs: Any) -> list[CheckMessage]:
    """E001: an address that no client can be built from. E002: both roles in one logical database, by their names."""
    problems: list[CheckMessage] = []
    for role in Role:
        try:
            addresses.parse(settings.REDIS_URLS[role])
        except ImproperlyConfigured as error:
            problems.append(Error(str(error), hint=f"Correct {variable_of(role)}.", id="intellicolab.E001"))
    if not problems and _same_names():
        problems.append(_one_database())
    return problems


@register(Tags.caches, deploy=True)
def redis_databases(**kwargs: Any) -> list[CheckMessage]:
    """E002 for one server under two names, such as localhost and 127.0.0.1, which only the server itself can tell."""
    try:
        same = not _same_names() and _places(Role.STATE) & _places(Role.CACHE)
    except (RedisError, OSError, ImproperlyConfigured):
        return []
    return [_one_database()] if same else []


@register(Tags.security)
def proxy_is_named(**kwargs: Any) -> list[CheckMessage]:
    """W003: TLS ends at a proxy whose X-Forwarded-Proto is not believed, so every page redirects to itself."""
    if not settings.SECURE or settings.TRUSTED_PROXIES:
        return []
    return [
        Warning(
            "PUBLIC_URL is https, but TRUSTED_PROXIES names no proxy: nobody is believed to have come over TLS, and "
            "every page redirects to itself without end.",
            hint="Set TRUSTED_PROXIES to the address of the proxy that adds TLS, such as 127.0.0.1 on this machine.",
            id="intellicolab.W003",
        )
    ]


@register(Tags.caches, deploy=True)
def state_is_kept(**kwargs: Any) -> list[CheckMessage]:
    """W001: the state role may evict. W002: it has no persistence. Silent where no server answers: /readyz says so."""
    try:
        infos = reports(Role.STATE)
    except (RedisError, OSError, ImproperlyConfigured):
        return []
    return _evicts(infos) + _forgets(infos)


def _evicts(infos: list[dict[str, Any]]) -> list[CheckMessage]:
    policies = {info.get("maxmemory_policy", "noeviction") for info in infos} - {"noeviction"}
    if not policies:
        return []
    return [
        Warning(
            f"The Redis server of REDIS_URL ({_state()}) may evict keys ({', '.join(sorted(policies))}): sessions and "
            "queued work would vanish under memory pressure.",
            hint="Set `maxmemory-policy noeviction` there, and give the cache a server of its own.",
            id="intellicolab.W001",
        )
    ]


def _forgets(infos: list[dict[str, Any]]) -> list[CheckMessage]:
    if all(info.get("aof_enabled") for info in infos):
        return []
    return [
        Warning(
            f"The Redis server of REDIS_URL ({_state()}) keeps no append-only file: a restart signs everyone out.",
            hint="Start it with deploy/redis.conf (`appendonly yes`).",
            id="intellicolab.W002",
        )
    ]


def _state() -> str:
    return safe_url(settings.REDIS_URLS[Role.STATE])


def variable_of(role: Role) -> str:
    """The environment variable with a role's address."""
    return "REDIS_URL" if role is Role.STATE else "REDIS_CACHE_URL"


def _one_database() -> Error:
    return Error(
        "REDIS_URL and REDIS_CACHE_URL name the same logical database: clearing the cache would delete every session, "
        "limit and stream.",
        hint="Give the cache another server or another database number; a Cluster, which has one, another Cluster.",
        id="intellicolab.E002",
    )


def _same_names() -> bool:
    state, cache = (addresses.parse(settings.REDIS_URLS[role]) for role in (Role.STATE, Role.CACHE))
    if (state.service, state.path, state.db) != (cache.service, cache.path, cache.db):
        return False
    return state.kind is cache.kind and (set(state.nodes) == set(cache.nodes) or _one_cluster(state, cache))


def _one_cluster(state: Address, cache: Address) -> bool:
    """Whether both name a node of one Cluster (or a Sentinel of one group, which know the service by its name)."""
    return state.kind is not Kind.SINGLE and bool(set(state.nodes) & set(cache.nodes))


def _places(role: Role) -> set[tuple[str, int]]:
    """Each server's own identity, made anew at each of its starts, and the number of the database in it."""
    db = addresses.parse(settings.REDIS_URLS[role]).db
    return {(info["run_id"], db) for info in reports(role, "server")}
