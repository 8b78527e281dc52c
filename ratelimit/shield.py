"""Refusals that are remembered, answered before Django is entered: a flood then costs a look into a dictionary.

An ASGI application around the others. It only repeats what the middleware said to the same sender a moment ago; whom
it does not know, it lets through to be decided.
"""

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any

from django.core.handlers.asgi import get_script_prefix

from . import answers, headers
from .book import book
from .gate import DENIED, Outcome, Standing, count_denied, site
from .identity import Identity
from .matching import CONNECT, REQUEST, Occasion
from .middleware import is_exempt
from .offenders import offenders
from .policies import LivePolicy, Policies
from .rules import MICROSECONDS, Decision
from .scopes import Scope, api_key_of, header, session_of
from .sender import Sender

Application = Callable[[Scope, Any, Any], Awaitable[None]]
Made = tuple[int, list[tuple[bytes, bytes]], bytes]  # status, header and body


class Shield:
    """`constant` are fields that every answer of the site carries, such as its security policy.

    `scope["client"]` must be the true address already: see `address.py` for what to believe of a proxy.
    """

    def __init__(self, application: Application, constant: Callable[[], Mapping[str, str]] = dict) -> None:
        self.application = application
        self._constant = constant
        self._made = lru_cache(maxsize=1024)(self._make)  # a flood gets the same few answers again and again

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        outcome = remembered(scope)
        if outcome is None:
            await self.application(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, send, outcome, "http.response")
        elif "websocket.http.response" in scope.get("extensions", ()):
            await receive()
            await self._answer(scope, send, outcome, "websocket.http.response")
        else:
            await receive()
            await send({"type": "websocket.close"})  # before it was accepted: the handshake is answered with 403

    async def _answer(self, scope: Scope, send: Any, outcome: Outcome, event: str) -> None:
        html = answers.prefers_html(header(scope, b"accept") or "*/*")
        status, start, body = self._made(outcome.denied, outcome.known, html, bool(header(scope, b"origin")))
        await send({"type": f"{event}.start", "status": status, "headers": list(start)})
        await send({"type": f"{event}.body", "body": b"" if scope.get("method") == "HEAD" else body})

    def _make(self, denied: bool, known: tuple[Standing, ...], html: bool, cross_origin: bool) -> Made:
        made = answers.answer(Outcome(False, known=known, denied=denied), html=html)
        fields = {**self._constant(), **made.headers, "Content-Length": str(len(made.body))}
        if cross_origin:
            fields["Access-Control-Expose-Headers"] = headers.EXPOSED
        start = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
        return made.status, start, made.body


def remembered(scope: Scope) -> Outcome | None:
    """What this sender was told a moment ago about the same policies; None when that has to be found out."""
    book.look_soon()
    policies, address = book.peek(), (scope.get("client") or ("", 0))[0]
    denied = policies.denies(address)
    if not book.is_recent or not (denied or policies.senders):
        return None
    occasion = _occasion(scope)
    if is_exempt(occasion.path):
        return None
    if denied:
        count_denied()
        return DENIED
    refusing = policies.refusing(occasion, sender_of(scope, policies, address))
    return _repeated(occasion, refusing) if refusing else None


def _repeated(occasion: Occasion, refusing: list[tuple[LivePolicy, Identity, float]]) -> Outcome:
    for policy, identity, _ in refusing:
        policy.counts.refused()
        policy.counts.remembered()
        offenders.note(policy.rule.name, identity, occasion)
    site.refused()
    site.remembered()
    return Outcome(False, known=tuple([_standing(policy, until) for policy, _, until in refusing]))


def _standing(policy: LivePolicy, until: float) -> Standing:
    """In whole seconds, which is all that an answer says."""
    left = max(1, math.ceil(until - time.monotonic())) * MICROSECONDS
    return Standing(policy, Decision(admitted=False, remaining=0, wait=left, reset=left))


def sender_of(scope: Scope, policies: Policies, address: str) -> Sender:
    return policies.sender(address, session_of(scope), api_key_of(scope) if policies.counts_keys else "")


def _occasion(scope: Scope) -> Occasion:
    """With the path as Django will have it."""
    path = scope["path"].removeprefix(get_script_prefix(scope).rstrip("/"))
    if scope["type"] == "websocket":
        return Occasion(CONNECT, path)
    return Occasion(REQUEST, path, scope["method"])
