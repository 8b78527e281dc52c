"""Networks and people that no policy concerns, and those that are kept out whatever the policies say."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Protocol

from .address import Address, parse
from .caller import Caller

Network = IPv4Network | IPv6Network


class Treatment(Enum):
    ALLOWED = "allow"  # no policy is asked
    DENIED = "deny"  # nothing is admitted


class Entry(Protocol):
    """As a row of `models.Exemption` has it: a network or a person, until when (Unix time; None for ever)."""

    treatment: str
    network: str
    user_id: int | None

    @property
    def ends(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Listed:
    treatment: Treatment
    ends: float


class Exemptions:
    """Of several that fit, the person's goes first, then that of the smallest network; of the same one, the denial."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._people: dict[int, list[Listed]] = {}
        self._networks: dict[Network, list[Listed]] = {}
        for entry in entries:
            listed = Listed(Treatment(entry.treatment), float("inf") if entry.ends is None else entry.ends)
            if entry.user_id is not None:
                self._people.setdefault(entry.user_id, []).append(listed)
            else:
                self._networks.setdefault(ip_network(entry.network, strict=False), []).append(listed)
        self._allows_people = any(
            listed.treatment is Treatment.ALLOWED for found in self._people.values() for listed in found
        )
        self._lengths = sorted({(net.version, net.prefixlen) for net in self._networks}, reverse=True)

    def __bool__(self) -> bool:
        return bool(self._people or self._networks)

    @property
    def denies_networks(self) -> bool:
        """Whether an address alone may be reason enough: nobody who comes from there is let in by name."""
        return bool(self._networks) and not self._allows_people

    def of(self, caller: Caller) -> Treatment | None:
        """How the caller is treated; None: as the policies say."""
        if self._people and caller.user_id is not None and (found := _valid(self._people.get(caller.user_id, ()))):
            return found
        return self.of_address(caller.address)

    def of_address(self, text: str) -> Treatment | None:
        """How whoever comes from an address is treated, whoever it is."""
        address = parse(text) if self._networks else None
        return None if address is None else self._of_networks(address)

    def _of_networks(self, address: Address) -> Treatment | None:
        for version, length in self._lengths:
            if version == address.version:
                network = ip_network((address, length), strict=False)
                if found := _valid(self._networks.get(network, ())):
                    return found
        return None


def _valid(listed: Iterable[Listed]) -> Treatment | None:
    now = time.time()
    treatments = {each.treatment for each in listed if each.ends > now}
    return Treatment.DENIED if Treatment.DENIED in treatments else next(iter(treatments), None)
