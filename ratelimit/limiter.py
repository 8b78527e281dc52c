"""Asking Redis: one script call decides and counts. Without an answer the caller's policy decides."""

from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from intellicolab.redis import keys, scripts
from intellicolab.redis.breaker import Breaker
from intellicolab.redis.client import Purpose, Role, async_client, client

from .rules import Decision, Rule

_fixed_window = scripts.load(Path(__file__).parent, "fixed_window")


class Limiter:
    """Fixed windows for any rule and identity. Sync and async callers share keys, script and breaker."""

    def __init__(self, name: str = "Rate limits") -> None:
        self.breaker = Breaker(name, "requests pass without a limit")

    def check(self, rule: Rule, identity: str) -> Decision | None:
        """Count one request; None when Redis gives no answer within 0.1 s or is known to be away."""
        if not self.breaker.ready():
            return None
        try:
            answer = _fixed_window(client(Role.STATE, Purpose.FAST), *_call(rule, identity))
        except (RedisError, OSError) as error:
            self.breaker.failed(error)
            return None
        return self._decision(answer)

    async def acheck(self, rule: Rule, identity: str) -> Decision | None:
        """As `check`, on the running event loop."""
        if not self.breaker.ready():
            return None
        try:
            redis = async_client(Role.STATE, Purpose.FAST)
            answer = await _fixed_window.call_async(redis, *_call(rule, identity))
        except (RedisError, OSError) as error:
            self.breaker.failed(error)
            return None
        return self._decision(answer)

    def _decision(self, answer: Any) -> Decision:
        self.breaker.succeeded()
        allowed, remaining, reset_ms = answer
        return Decision(bool(allowed), remaining, reset_ms)


def _call(rule: Rule, identity: str) -> tuple[list[str], list[str | bytes | int | float]]:
    return [keys.limit(rule.name, identity)], [rule.limit, rule.window_ms]
