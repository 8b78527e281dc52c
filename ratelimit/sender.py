"""Who sent a request, as far as its head alone tells: the key under which a refusal is remembered before Django."""

from typing import NamedTuple


class Sender(NamedTuple):
    """The same address, session and key are the same caller for the moment; empty for none, None for whichever."""

    address: str
    session: str | None
    api_key: str | None

    @property
    def anybody(self) -> "Sender":
        """Whoever is at that address."""
        return Sender(self.address, None, None)
