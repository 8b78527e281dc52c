"""What can be wrong with a policy or an exemption, in sentences that say what to do."""

import re
from collections.abc import Callable
from ipaddress import IPv6Network, ip_network
from typing import TYPE_CHECKING

from django.core.exceptions import ValidationError

from . import identity, matching, rates
from .rules import Algorithm

if TYPE_CHECKING:
    from .models import Policy

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
WIDEST_DENIAL = {4: 8, 6: 16}  # bits: what is wider would keep out a good part of the world

Problems = dict[str, list[str]]


def check(policy: "Policy") -> None:
    """Raises ValidationError."""
    problems: Problems = {}
    for look in (_limit, _burst, _subject, _words, _paths, _whom):
        look(policy, lambda field, text: problems.setdefault(field, []).append(text))
    if problems:
        raise ValidationError(problems)
    try:
        rule = policy.rule
    except ValueError as error:
        raise ValidationError({"limit": f"{str(error).partition(': ')[2]}."}) from error
    if policy.cost > rule.capacity:
        raise ValidationError({"cost": f"Nothing would ever be admitted: at most {rule.capacity:,} are, at once."})


Say = Callable[[str, str], None]


def _limit(policy: "Policy", say: Say) -> None:
    parse = rates.parse_count if policy.algorithm == Algorithm.CONCURRENCY else rates.parse
    try:
        parse(policy.limit)
    except ValueError as error:
        say("limit", str(error))
    if policy.cost == 0:
        say("cost", "What costs nothing is not limited: write 1 or more, or switch the policy off.")


def _burst(policy: "Policy", say: Say) -> None:
    if policy.burst is None:
        return
    if policy.algorithm not in (Algorithm.TOKEN_BUCKET, Algorithm.GCRA):
        say("burst", "Only a token bucket and GCRA have a burst: leave it empty.")
    elif policy.burst == 0:
        say("burst", "A burst of 0 would admit nothing: leave it empty or write 1 or more.")


def _subject(policy: "Policy", say: Say) -> None:
    concurrent = policy.algorithm == Algorithm.CONCURRENCY
    if concurrent and policy.subject != matching.CONNECT:
        say("algorithm", "Only open sockets are held for a time.")
    if concurrent and policy.cost != 1:
        say("cost", "Whoever holds something holds it once: write 1.")
    if policy.frames and policy.subject != matching.FRAME:
        say("frames", "Only a policy that counts frames can name their types.")
    if (policy.path or policy.route or policy.methods) and policy.subject == matching.FRAME:
        say("subject", "Frames have no path, route or method: leave these empty.")


def _words(policy: "Policy", say: Say) -> None:
    if unknown := set(policy.methods.upper().split()) - METHODS:
        say("methods", f"{', '.join(sorted(unknown))} is no method of HTTP; these are: {' '.join(sorted(METHODS))}.")
    if unknown := set(policy.route.split()) - matching.routes():
        say("route", f"This site has no route named {', '.join(sorted(unknown))}.")
    for frame in policy.frames.split():
        if not re.fullmatch(r"[a-z][a-z0-9._-]*", frame, re.ASCII):
            say("frames", f"{frame!r} can't be a type of frames: parts are spaces, and types are like message.send.")


def _paths(policy: "Policy", say: Say) -> None:
    for glob in policy.path.split():
        if not glob.startswith(("/", "*")):
            say("path", f"{glob!r} matches no path: each begins with a slash.")
        # Each star more in a part makes the time to compare a long path grow by a power of its length.
        if glob.count("**") > 1 or any(part.replace("**", "*").count("*") > 1 for part in glob.split("/")):
            say("path", f"{glob!r} has too many stars: one between two slashes, and ** once.")


def _whom(policy: "Policy", say: Say) -> None:
    if (policy.tier == policy.Tier.GROUP) != (policy.group_id is not None):
        say("group", "Choose the group, and “Members of a group” above; or neither.")
    if policy.identity == identity.USER and policy.tier == policy.Tier.ANONYMOUS:
        say("identity", "Visitors are no person that could be counted: choose the client address.")
    if policy.identity == identity.GIVEN and policy.subject != matching.NAMED:
        say("identity", "Only what the code asks for by name comes with such a name.")


def network(text: str, *, denied: bool) -> str:
    """In its one spelling; an IPv4 network mapped into IPv6 is unwrapped. Raises ValidationError."""
    try:
        found = ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValidationError(
            {"network": f"{text!r} is neither an address nor a network; they look like 192.0.2.7 or 2001:db8::/32."}
        ) from None
    if isinstance(found, IPv6Network) and found.prefixlen >= 96 and found.network_address.ipv4_mapped:
        found = ip_network((found.network_address.ipv4_mapped, found.prefixlen - 96))
    if denied and found.prefixlen < WIDEST_DENIAL[found.version]:
        raise ValidationError({"network": f"{found} is so wide that it would keep out nearly everybody."})
    return str(found)


def names_one(network: str, user_id: int | None) -> None:
    """Raises ValidationError."""
    if bool(network) == (user_id is not None):
        raise ValidationError("Name a network or a person: one of them, and not both.")
