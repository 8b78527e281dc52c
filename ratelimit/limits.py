"""Limits that the code asks for by name, each a policy that counts "what the code asks for".

An administrator decides what the name admits; without a policy of that name everything is admitted.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest

from . import gate
from .caller import Caller, Visitor
from .gate import Outcome
from .matching import NAMED, Occasion

View = TypeVar("View", bound=Callable[..., Any])


class Refused(Exception):
    """What was asked for is over a limit; the middleware answers a request whose view raises it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__("over the limit of " + ", ".join(each.policy.name for each in outcome.refusing))
        self.outcome = outcome


def check(name: str, who: HttpRequest | Caller, cost: int = 1) -> Outcome:
    """Charge `cost` times the policy's own. `who` may be anybody: `Member(user_id)`, `Caller(given="an account")`."""
    return gate.decide(*_question(name, who), cost)


async def acheck(name: str, who: HttpRequest | Caller, cost: int = 1) -> Outcome:
    return await gate.adecide(*_question(name, who), cost)


def enforce(name: str, who: HttpRequest | Caller, cost: int = 1) -> Outcome:
    """As `check`; raises Refused."""
    return _admitted(check(name, who, cost))


async def aenforce(name: str, who: HttpRequest | Caller, cost: int = 1) -> Outcome:
    return _admitted(await acheck(name, who, cost))


def refund(name: str, who: HttpRequest | Caller, cost: int = 1) -> None:
    """Take back what `check` charged: it turned out not to count, as an attempt to sign in that succeeded."""
    gate.refund(*_question(name, who), cost)


def limit(name: str, *, cost: int = 1) -> Callable[[View], View]:
    """Have a view, sync or async, admitted by the policies of that name before it is called.

    Where no RateLimitMiddleware is, a refusal is an error 500: it is that middleware's to answer.
    """

    def decorate(view: View) -> View:
        if iscoroutinefunction(view):

            @wraps(view)
            async def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                note(request, await aenforce(name, request, cost))
                return await view(request, *args, **kwargs)
        else:

            @wraps(view)
            def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                note(request, enforce(name, request, cost))
                return view(request, *args, **kwargs)

        return limited  # type: ignore[return-value]

    return decorate


def note(request: HttpRequest, outcome: Outcome) -> None:
    """For the middleware, which tells the client of all that was decided on its request."""
    request.__dict__.setdefault("limits", []).append(outcome)


def noted(request: HttpRequest) -> list[Outcome]:
    return request.__dict__.get("limits", [])


def _question(name: str, who: HttpRequest | Caller) -> tuple[Occasion, Caller]:
    if isinstance(who, HttpRequest):
        return Occasion(NAMED, who.path_info, who.method or "", name=name), Visitor(who)
    return Occasion(NAMED, name=name), who


def _admitted(outcome: Outcome) -> Outcome:
    if not outcome.admitted:
        raise Refused(outcome)
    return outcome
