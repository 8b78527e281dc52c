"""Placeholder people for the authors of imported messages: they have a name and can never sign in."""

import hashlib
import re
from collections.abc import Iterable

from django.contrib.auth.hashers import make_password

from accounts.models import User

from .formats import Format

_LOCAL_PART_MAX = 64  # characters before the @ (RFC 5321, section 4.5.3.1.1)


class NotAPlaceholder(Exception):
    """A real account has an address that is reserved for a placeholder: it must not be given another's words."""


class Authors:
    """The placeholders of one format, found or made as they are needed."""

    def __init__(self, log: Format) -> None:
        self._log = log
        self._ids: dict[str, int] = {}
        self.made = 0

    def __len__(self) -> int:
        return len(self._ids)

    def ids(self, nicks: Iterable[str]) -> dict[str, int]:
        """{nick: user id}. The first spelling of a nick is shown. Raises NotAPlaceholder."""
        spelled = list(nicks)
        new: dict[str, str] = {}
        for nick in spelled:
            if self._address(nick) not in self._ids:
                new.setdefault(self._address(nick), nick)
        if new:
            self._make({address: nick for address, nick in new.items() if address not in self._find(new)})
            self._ids.update(self._find(new))
        return {nick: self._ids[self._address(nick)] for nick in spelled}

    def _address(self, nick: str) -> str:
        return f"{local_part(self._log.fold(nick))}@{self._log.domain}"

    def _find(self, addresses: Iterable[str]) -> dict[str, int]:
        users = User.objects.filter(email__in=list(addresses))
        for user in users:
            if not user.is_placeholder:
                raise NotAPlaceholder(
                    f"The account {user.email} is a real person's, but that address stands for an imported author. "
                    "Give the account another address, then import again."
                )
        return {user.email: user.pk for user in users}

    def _make(self, nicks: dict[str, str]) -> None:
        """Of two imports that make the same people at once, the second's rows are ignored: both find the first's."""
        made = User.objects.bulk_create(
            (
                User(
                    email=address,
                    display_name=nick[:80],
                    is_active=False,
                    is_placeholder=True,
                    password=make_password(None),
                )
                for address, nick in nicks.items()
            ),
            ignore_conflicts=True,
        )
        self.made += len(made)


def local_part(nick: str) -> str:
    """A nick as the part of an address before the @; no two nicks share one.

    What is not a small letter, a digit or a hyphen becomes `_` and its UTF-8 bytes in hexadecimal; a long one ends in
    `_h` and a hash, which no escape can produce.
    """
    escaped = re.sub(r"[^a-z0-9-]", lambda match: "".join(f"_{byte:02x}" for byte in match[0].encode()), nick)
    if len(escaped) <= _LOCAL_PART_MAX:
        return escaped
    return f"{escaped[:30]}_h{hashlib.sha256(nick.encode()).hexdigest()[:32]}"
