"""Who is limited: a client address, as a keyed hash, so that Redis holds nobody's address in clear."""

import hashlib
import hmac

from django.conf import settings

from .address import group


def address_identity(address: str) -> str:
    """32 hex digits for a client address; the addresses of one IPv6 /64 share theirs.

    A plain hash of an address can be undone by trying all of them, so it is keyed with SECRET_KEY (RFC 2104).
    Whatever the address contains, the identity is safe in a key.
    """
    name = f"ratelimit.address:{group(address)}"
    return hmac.new(settings.SECRET_KEY.encode(), name.encode(), hashlib.sha256).hexdigest()[:32]
