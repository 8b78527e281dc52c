"""Who can reach an installation; where others can, an empty one is set up only by who was given the code."""

from ipaddress import ip_address

from django.conf import settings

from accounts.queries import is_installed


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_private(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`.

    A loopback address alone does not make it so: a reverse proxy or a tunnel on this machine lets others in, and
    whoever has one names it or the public host.
    """
    return not settings.TRUSTED_PROXIES and all(map(is_loopback, (host, *settings.ALLOWED_HOSTS)))


def lacks_setup_code(host: str) -> bool:
    """Whether the first stranger could make themselves the administrator. Raises DatabaseError."""
    return not is_private(host) and not settings.SETUP_CODE and not is_installed()
