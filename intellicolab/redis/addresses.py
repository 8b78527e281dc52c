"""Redis addresses: the URL alone says whether one server, a Sentinel group or a Cluster is meant.

| form | what it is |
| --- | --- |
| `redis://`, `rediss://` (TLS), `unix://` | one server |
| `redis+sentinel://`, `rediss+sentinel://` | the primary that these Sentinels name |
| `redis+cluster://`, `rediss+cluster://` | a Cluster that these nodes belong to |
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from django.core.exceptions import ImproperlyConfigured
from redis import RedisError
from redis import connection as plain
from redis.connection import ConnectionPool, parse_url

FORMS = (
    "redis://:password@host:6379/0, rediss://user:password@host:6379/0?ssl_ca_certs=/path/ca.pem, "
    "unix:///path/to/redis.sock?db=0, redis+sentinel://:password@host1:26379,host2:26379/mymaster/0 or "
    "redis+cluster://:password@host1:6379,host2:6379"
)


class Kind(StrEnum):
    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_SCHEMES = {
    "redis": (Kind.SINGLE, "redis"),
    "rediss": (Kind.SINGLE, "rediss"),
    "unix": (Kind.SINGLE, "unix"),
    "redis+sentinel": (Kind.SENTINEL, "redis"),
    "rediss+sentinel": (Kind.SENTINEL, "rediss"),
    "redis+cluster": (Kind.CLUSTER, "redis"),
    "rediss+cluster": (Kind.CLUSTER, "rediss"),
}
_PORTS = {Kind.SINGLE: 6379, Kind.SENTINEL: 26379, Kind.CLUSTER: 6379}
_PATHS = {
    Kind.SINGLE: re.compile("/?(?P<db>[0-9]*)"),
    Kind.SENTINEL: re.compile("/(?P<service>[^/]+)(/(?P<db>[0-9]*))?"),
    Kind.CLUSTER: re.compile("/?(?P<db>0?)"),
}
_CONNECTIONS = {"redis": plain.Connection, "rediss": plain.SSLConnection, "unix": plain.UnixDomainSocketConnection}
_OF_SENTINELS = "sentinel_"  # options that begin so are for the connections to the Sentinels


class AddressError(ImproperlyConfigured):
    """Not an address of a Redis; the message is one line that shows the forms and no password."""


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address. `options` are keyword arguments of a redis-py connection pool and hold the password."""

    kind: Kind
    transport: str  # "redis", "rediss" (TLS) or "unix"
    nodes: tuple[tuple[str, int], ...]  # (host, port) of the server, the Sentinels or the Cluster's nodes
    options: dict[str, Any] = field(repr=False)
    service: str = ""  # what the Sentinels call the primary
    sentinel_options: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def db(self) -> int:
        return int(self.options.get("db", 0))

    @property
    def path(self) -> str:
        """Of the Unix socket, else empty."""
        return str(self.options.get("path", ""))


def parse(url: str) -> Address:
    """The address that a URL names. Raises AddressError."""
    try:
        address = _parse(url)
        # Options that connections don't have, or whose value is none, show only when one is made.
        pool = ConnectionPool(connection_class=_CONNECTIONS[address.transport], **address.options)
        pool.make_connection()
    except (ValueError, TypeError, RedisError) as error:
        # The reason may quote an option's value, so only ours, which do not, are passed on.
        reason = f": {error}" if isinstance(error, _Reason) else ""
        raise AddressError(f"{safe_url(url)!r} is not a Redis address{reason}. Use {FORMS}.") from None
    return address


def safe_url(url: str) -> str:
    """The address without user, password and options, for logs and messages."""
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    if "@" in query or "#" in rest:  # perhaps a password with such a sign in it: where it ends nobody can tell
        return f"{scheme}://…"
    return f"{scheme}://{place.rpartition('@')[2]}" if rest else ""


def beside(url: str) -> str:
    """The next logical database of the same server or service. Raises AddressError for a Cluster: it has only one."""
    address = parse(url)
    if address.kind is Kind.CLUSTER:
        raise AddressError(f"{safe_url(url)!r} is a Cluster, which has only one database: nothing can lie beside it.")
    users, hosts, path, options = _split(url)
    query, db = [(name, value) for name, value in options if name != "db"], str(address.db + 1)
    if address.transport == "unix":
        query.append(("db", db))
    elif address.kind is Kind.SENTINEL:
        path = f"/{path.split('/')[1]}/{db}"
    else:
        path = f"/{db}"
    place = f"{users}{'@' if users else ''}{hosts}{path}"
    return f"{url.partition('://')[0]}://{place}{'?' if query else ''}{urlencode(query)}"


class _Reason(ValueError):
    """A reason in our own words, which hold no secret."""


def _parse(url: str) -> Address:
    scheme, _, _ = url.partition("://")
    if scheme not in _SCHEMES:
        raise ValueError
    kind, transport = _SCHEMES[scheme]
    users, hosts, path, query = _split(url)
    if transport == "unix":
        if not path:
            raise _Reason("the path of the socket is missing")
        return Address(kind, transport, (), _options(url, None))
    nodes = tuple(_node(host, _PORTS[kind]) for host in hosts.split(","))
    if kind is Kind.SINGLE and len(nodes) > 1:
        raise _Reason("one server has one host; for several, say whether they are Sentinels or a Cluster")
    place = _PATHS[kind].fullmatch(path)
    if place is None:
        raise _Reason(_WRONG_PATH[kind])
    own = [(name, value) for name, value in query if not name.startswith(_OF_SENTINELS)]
    options = _options(f"{transport}://{users}@host/?{urlencode(own)}", place["db"])
    if kind is Kind.CLUSTER and options.pop("db", 0):
        raise _Reason(_WRONG_PATH[kind])
    if kind is Kind.SINGLE:
        options |= {"host": nodes[0][0], "port": nodes[0][1]}
    return Address(kind, transport, nodes, options, unquote(place.groupdict().get("service", "")), _sentinel(query))


def _split(url: str) -> tuple[str, str, str, list[tuple[str, str]]]:
    """(user and password, hosts, path, options); urlsplit takes an IPv6 address only where it is the one host."""
    if "#" in url:
        raise _Reason("the sign # is written as %23")
    place, _, query = url.partition("://")[2].partition("?")
    hosts, slash, path = place.partition("/")
    users, _, hosts = hosts.rpartition("@")
    return users, hosts, slash + path, parse_qsl(query, strict_parsing=bool(query))


_WRONG_PATH = {
    Kind.SINGLE: "what follows the host is the number of a database",
    Kind.SENTINEL: "the Sentinels' name for the primary must follow the hosts, as in /mymaster or /mymaster/0",
    Kind.CLUSTER: "a Cluster has only database 0",
}


def _node(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise _Reason("a host is missing")
    return parts.hostname, parts.port or port


def _options(url: str, db: str | None) -> dict[str, Any]:
    """What redis-py makes of the URL's user and query."""
    options = dict(parse_url(url))
    for of_the_form in ("connection_class", "host", "port"):
        options.pop(of_the_form, None)
    if db:
        options.setdefault("db", int(db))
    if options.get("db", 0) < 0:
        raise _Reason("the number of a database is not negative")
    return options


def _sentinel(query: list[tuple[str, str]]) -> dict[str, Any]:
    of_sentinels = [
        (name.removeprefix(_OF_SENTINELS), value) for name, value in query if name.startswith(_OF_SENTINELS)
    ]
    options = _options(f"redis://host/?{urlencode(of_sentinels)}", None)
    plain.Connection(**options)  # refuses what is no option of a connection
    return options
