"""The real decide.lua on a real server, under a clock of ours.

Its two touches of the clock are replaced: the time that it reads, and the lifetimes that it sets, which the model's
time ends.
"""

from pathlib import Path
from typing import Any

import ratelimit
from ratelimit.rules import Decision, Rule, decisions

SCRIPT = (Path(ratelimit.__file__).parent / "lua" / "decide.lua").read_text()

TIME = "local time = redis.call('TIME')\n"
SET = "redis.call('PSETEX', key, math.max(1, math.ceil(lifetime / 1000)), value)"
PEXPIRE = "redis.call('PEXPIRE', key, math.ceil(window / 1000) + 1)"


def under_our_clock() -> str:
    """The script, with the time as its last argument; lifetimes in ms go to `<key>:ttl`."""
    text = SCRIPT
    for line, ours in (
        (TIME, "local time = {string.match(ARGV[#ARGV], '(%d+) (%d+)')}\n"),
        (
            SET,
            "redis.call('SET', key, value); redis.call('SET', key .. ':ttl', math.max(1, math.ceil(lifetime / 1000)))",
        ),
        (PEXPIRE, "redis.call('SET', key .. ':ttl', math.ceil(window / 1000) + 1)"),
    ):
        assert text.count(line) == 1, line
        text = text.replace(line, ours)
    return text


class Scripted:
    """The script's decisions at a time that the caller gives; microseconds."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._decide = redis.register_script(under_our_clock())
        self._ends: dict[str, int] = {}

    def __call__(self, operation: str, asked: list[tuple[Rule, int]], now: int, lease: str = "") -> list[Decision]:
        for rule, _ in asked:
            self.expire(rule, now)
        packed = [rule.packed(cost) + lease.encode() for rule, cost in asked]
        names = [name_of(rule) for rule, _ in asked]
        answer = self._decide(keys=names, args=[operation, *packed, f"{now // 10**6} {now % 10**6}"])
        for name in names:
            if (ttl := self._redis.getdel(f"{name}:ttl")) is not None:
                self._ends[name] = now + int(ttl) * 1000
        return decisions(answer)

    def end(self, rule: Rule) -> int:
        """When the rule's state is deleted."""
        return self._ends[name_of(rule)]

    def expire(self, rule: Rule, now: int) -> bool:
        """Delete the rule's state if its time is over; whether it was."""
        name = name_of(rule)
        over = now >= self._ends.get(name, now + 1)
        if over:
            self._redis.delete(name)
            del self._ends[name]
        return over


def name_of(rule: Rule) -> str:
    return f"{{model}}:{rule.name}:{rule.algorithm}"
