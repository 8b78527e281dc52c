"""The address of whoever sent a request: the first from the right that no proxy of ours has.

Each proxy appends the address that it saw to X-Forwarded-For, so only what trusted proxies appended is true; all
further left is whatever the sender liked to claim. Nothing here raises on what a client sends.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from django.core.exceptions import ImproperlyConfigured

Address = IPv4Address | IPv6Address

UNKNOWN = "unknown"
LONGEST = 100  # characters; what is longer is no address, and thousands of it would fill the memory
# What one customer of a provider holds at least (RFC 6177): finer limits could be walked around inside it.
IPV6_PREFIX = 64


@dataclass(frozen=True)
class TrustedProxies:
    """Whose forwarding headers are believed: networks, and with `unix` whoever reaches our Unix socket."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    unix: bool = False

    @classmethod
    def parse(cls, names: Iterable[str]) -> "TrustedProxies":
        """From TRUSTED_PROXIES: addresses, networks, and the word `unix`. Raises ImproperlyConfigured."""
        words = [name.strip() for name in names if name.strip()]
        return cls(tuple(_network(word) for word in words if word != "unix"), "unix" in words)

    def trusts(self, peer: str) -> bool:
        """Whether a connection's other end is a proxy of ours; a Unix socket's peer has no address (empty)."""
        if not peer:
            return self.unix
        address = parse(peer)
        return address is not None and self.contains(address)

    def contains(self, address: Address) -> bool:
        return any(address in network for network in self.networks)

    def client(self, peer: str, forwarded: Iterable[str]) -> str:
        """The sender's address, given the connection's other end and each X-Forwarded-For header, in order.

        A value that is no address ends the walk at the last good one: the proxy that passed it on.
        """
        best = normal(peer)
        if not self.trusts(peer):
            return best
        for value in reversed(",".join(forwarded).split(",")):
            address = parse(value)
            if address is None:
                break
            best = str(address)
            if not self.contains(address):
                break
        return best


def parse(text: str) -> Address | None:
    """The address in `1.2.3.4`, `1.2.3.4:80`, `2001:db8::1` or `[2001:db8::1]:80`; None for anything else.

    An IPv4 address mapped into IPv6 (RFC 4291, 2.5.5.2) is unwrapped: it is the same sender on a dual-stack socket.
    """
    return _parsed(text) if len(text) <= LONGEST else None


@lru_cache(maxsize=10_000)
def _parsed(text: str) -> Address | None:
    try:
        address = ip_address(_bare(text.strip()))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=10_000)
def normal(text: str) -> str:
    """The address in its one spelling; what is no address stays as it is."""
    address = parse(text)
    return str(address) if address else text


@lru_cache(maxsize=10_000)
def group(text: str) -> str:
    """What is limited as one sender: an IPv4 address, or the /64 network of an IPv6 one; garbage is all one sender."""
    address = parse(text)
    if address is None:
        return UNKNOWN
    if address.version == 4:
        return str(address)
    return str(IPv6Network((int(address), IPV6_PREFIX), strict=False))


def _bare(text: str) -> str:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return text.partition("%")[0]  # an interface name (RFC 4007) says where the link is, not who sent


def _network(word: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(word, strict=False)
    except ValueError as error:
        raise ImproperlyConfigured(
            f"TRUSTED_PROXIES contains {word!r}; each entry must be an address (10.0.0.5), a network (10.0.0.0/8) "
            "or the word unix."
        ) from error
