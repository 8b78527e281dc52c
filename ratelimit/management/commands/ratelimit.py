"""What limits there are, which of them concern somebody and how they stand, and their reset."""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Model
from redis.exceptions import RedisError

from ratelimit import gate, services
from ratelimit.address import parse
from ratelimit.book import book
from ratelimit.caller import Caller, Member
from ratelimit.matching import CONNECT, FRAME, NAMED, REQUEST, Occasion
from ratelimit.models import Exemption, Policy
from ratelimit.policies import Asked
from ratelimit.rules import Decision


class Command(BaseCommand):
    help = "Lists the rate limits, explains which apply to somebody, or resets what counts against them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="all policies and exemptions")
        explain = actions.add_parser("explain", help="which policies concern this, and how they stand")
        reset = actions.add_parser("reset", help="forget what counts against somebody in these policies")
        for action in (explain, reset):
            _describe(action)
        reset.add_argument("--policy", help="only this one, by its name")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if action == "list":
            self._list()
            return
        occasion, caller = _occasion(options), _caller(options)
        try:
            if action == "explain":
                self._explain(occasion, caller)
            else:
                self._reset(occasion, caller, options["policy"])
        except (RedisError, OSError) as error:
            raise CommandError(f"Redis does not answer: {error}") from error

    def _list(self) -> None:
        for policy in Policy.objects.select_related("group"):
            self.stdout.write(f"{policy.name:<24} {policy.mode:<8} {_words(policy)}")
        for exemption in Exemption.objects.select_related("user"):
            until = f" until {exemption.ends_at:%Y-%m-%d %H:%M %Z}" if exemption.ends_at else ""
            self.stdout.write(f"{exemption}{until}  {exemption.note}".rstrip())

    def _explain(self, occasion: Occasion, caller: Caller) -> None:
        if treatment := book.policies().exemptions.of(caller):
            self.stdout.write(f"An exemption goes before all policies: {treatment.value}.")
            return
        standings = gate.peek(occasion, caller)
        if not standings:
            self.stdout.write("No policy concerns this.")
        for asked, decision in standings:
            self.stdout.write(f"{asked.policy.name:<24} {_counted_for(asked):<32} {_state(asked, decision)}")

    def _reset(self, occasion: Occasion, caller: Caller, only: str | None) -> None:
        if only is not None and not Policy.objects.filter(name=only).exists():
            raise CommandError(f"There is no policy named {only!r}. `manage.py ratelimit list` shows all.")
        count = gate.reset(occasion, caller, lambda policy: only in (None, policy.name))
        services.forget_refusals()
        self.stdout.write(f"Reset: {count}. Every process knows it within a second.")


def _describe(parser: ArgumentParser) -> None:
    """What happens, and who does it."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--path", default="/", help="a request for this path")
    what.add_argument("--frame", help="a frame of this type")
    what.add_argument("--connect", action="store_true", help="the opening of a socket")
    what.add_argument("--name", help="what the code asks for by this name")
    parser.add_argument("--method", default="GET")
    parser.add_argument("--address", default="", help="the client address")
    parser.add_argument("--user", help="a person's email address or number")
    parser.add_argument("--api-key", default="")
    parser.add_argument("--given", default="", help="what the code counts it for, such as the account at a sign-in")


def _occasion(options: dict[str, Any]) -> Occasion:
    if options["frame"]:
        return Occasion(FRAME, frame=options["frame"])
    if options["connect"]:
        return Occasion(CONNECT, options["path"])
    if options["name"]:
        return Occasion(NAMED, name=options["name"])
    return Occasion(REQUEST, options["path"], options["method"].upper())


def _caller(options: dict[str, Any]) -> Caller:
    """Raises CommandError for nobody."""
    address = options["address"]
    if address and parse(address) is None:
        raise CommandError(f"{address!r} is no address; it should look like 192.0.2.7 or 2001:db8::1.")
    caller = Member(_user_id(options["user"]), address, api_key=options["api_key"])
    caller.given = options["given"]
    return caller


def _user_id(named: str | None) -> int | None:
    if named is None:
        return None
    model = get_user_model()
    field = "pk" if named.isdecimal() else model.get_email_field_name()
    found: Model | None = model._default_manager.filter(**{field: named}).first()
    if found is None:
        raise CommandError(f"There is nobody with the email address or number {named!r}.")
    return int(found.pk)


def _words(policy: Policy) -> str:
    """A policy in a line."""
    matched = " ".join(filter(None, (policy.methods, policy.path, policy.route, policy.frames)))
    burst = f", {policy.burst} at once" if policy.burst else ""
    whom = policy.group.name if policy.group else policy.tier
    return f"{policy.limit}{burst} a {policy.identity}, {whom}, {policy.subject}s {matched}".rstrip()


def _counted_for(asked: Asked) -> str:
    return f"{asked.identity.kind} {asked.identity.readable}"


def _state(asked: Asked, decision: Decision | None) -> str:
    if decision is None:
        return "Redis does not answer"
    shadow = " (shadow)" if asked.policy.rule.shadow else ""
    if decision.admitted:
        return f"{decision.remaining} left{shadow}"
    return ("never admitted" if decision.wait is None else f"refused for {decision.wait / 1e6:.1f} s") + shadow
