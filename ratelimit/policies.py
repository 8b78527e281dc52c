"""The policies as a process has them: made from the rows once, then asked without a database."""

import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

from .address import group
from .caller import Caller
from .exemptions import Exemptions, Treatment
from .identity import ADDRESS, API_KEY, GIVEN, Identity, named, short, whom
from .limiter import Charge
from .matching import Matcher, Occasion
from .memory import Refusals
from .models import Policy
from .rules import Rule
from .sender import Sender
from .statistics import Tallies, tallies_of

EVERYONE = "everyone"
SENDER_SECONDS = 5.0
HELD_SECONDS = 1.0
MOST_KNOWN = 10_000  # charges that are kept ready, a policy and identity; some 10 MiB


class Tiered(Protocol):
    """Who has a tier: a caller, or the record of one."""

    @property
    def kind(self) -> str: ...

    @property
    def groups(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True, eq=False)
class LivePolicy:
    """A row of `Policy`, ready to be asked."""

    name: str
    rule: Rule
    matcher: Matcher
    tier: str
    group: str
    identity: str
    cost: int
    closed: bool  # refuses while Redis does not answer
    counts: Tallies

    @classmethod
    def of(cls, row: Policy) -> "LivePolicy":
        """Raises ValueError when its numbers make no rule."""
        return cls(
            row.name, row.rule, row.matcher, row.tier, row.group.name if row.group else "", row.identity, row.cost,
            row.without_redis == Policy.WithoutRedis.CLOSED, tallies_of(str(row.pk)),
        )  # fmt: skip

    @property
    def is_remembered(self) -> bool:
        """Whether a refusal holds until its time is over: a lease may be given back, and a sign-in may succeed."""
        return not self.rule.leases and self.identity != GIVEN

    def concerns(self, caller: Tiered) -> bool:
        match self.tier:
            case "everyone":
                return True
            case "group":
                return self.group in caller.groups
            case _:
                return self.tier == caller.kind


class Asked(NamedTuple):
    """A policy that applies, whom it counts against, and how much."""

    policy: LivePolicy
    identity: Identity
    charge: Charge

    @property
    def key(self) -> tuple[str, str]:
        """Under which a refusal is remembered."""
        return self.policy.rule.name, self.charge.identity


class Policies:
    """Those of one moment, never changed; with them goes what is remembered of their refusals.

    `source` is what they were made from: equal sources, equal policies.
    """

    def __init__(
        self,
        live: Iterable[tuple[str, LivePolicy]] = (),
        exemptions: Exemptions | None = None,
        source: Hashable = None,
    ) -> None:
        self._of_subject: dict[str, list[LivePolicy]] = {}
        for subject, policy in live:
            self._of_subject.setdefault(subject, []).append(policy)
        self.exemptions = exemptions or Exemptions()
        self.source = source
        self.refusals: Refusals[tuple[str, str], int] = Refusals()  # by policy and identity: the cost
        self.senders: Refusals[tuple[str, Sender], Identity] = Refusals()  # by policy and sender: who it is
        self._charged = lru_cache(maxsize=MOST_KNOWN)(_charged)
        self.counts_keys = any(policy.identity == API_KEY for of in self._of_subject.values() for policy in of)

    def of(self, subject: str) -> Sequence[LivePolicy]:
        return self._of_subject.get(subject, ())

    def asked(self, occasion: Occasion, caller: Caller, cost: int = 1, lease: str = "") -> list[Asked]:
        """The policies that apply, each with its charge; `cost` multiplies the policy's own."""
        found = []
        for policy in self.of(occasion.subject):
            if policy.matcher(occasion) and policy.concerns(caller):
                kind, name = whom(policy.identity, caller)
                if name:
                    found.append(self._charged(policy, kind, name, cost, lease if policy.rule.leases else ""))
        return found

    def apply_to(self, occasion: Occasion) -> bool:
        """Whether any policy is about this, so that mostly nobody need ask who does it."""
        return any(policy.matcher(occasion) for policy in self.of(occasion.subject))

    def sender(self, address: str, session: str, api_key: str) -> Sender:
        """Keys that no policy counts by make nobody another sender."""
        return Sender(group(address), short(session), short(api_key) if self.counts_keys else "")

    def remember_sender(self, policy: LivePolicy, identity: Identity, caller: Caller, until: float) -> None:
        """Who sent what is refused: until then (monotonic seconds) the same sender need not be looked at again.

        Whose session or tier a sender has may change, and a lease may be given back: that is not believed for long.
        """
        sender = self.sender(caller.address, caller.session, caller.api_key)
        now = time.monotonic()
        if not policy.is_remembered:
            self.senders.add((policy.rule.name, sender), identity, min(until, now + HELD_SECONDS))
        elif policy.tier == EVERYONE and policy.identity == ADDRESS:
            self.senders.add((policy.rule.name, sender.anybody), identity, until)
        else:
            self.senders.add((policy.rule.name, sender), identity, min(until, now + SENDER_SECONDS))

    def refusing(self, occasion: Occasion, sender: Sender) -> list[tuple[LivePolicy, Identity, float]]:
        """The policies that are known to refuse this to that sender, and until when; nobody else is asked."""
        found = []
        for policy in self.of(occasion.subject):
            if policy.matcher(occasion):
                name = policy.rule.name
                remembered = self.senders.get((name, sender)) or self.senders.get((name, sender.anybody))
                if remembered:
                    found.append((policy, remembered.what, remembered.until))
        return found

    def denies(self, address: str) -> bool:
        """Whether whoever comes from there is kept out, and need not be looked at: nobody is allowed by name."""
        exemptions = self.exemptions
        return exemptions.denies_networks and exemptions.of_address(address) is Treatment.DENIED


def _charged(policy: LivePolicy, kind: str, name: str, cost: int, lease: str) -> Asked:
    """Who asks mostly asks again."""
    identity = named(kind, name)
    return Asked(policy, identity, Charge(policy.rule, identity.hashed, policy.cost * cost, lease))
