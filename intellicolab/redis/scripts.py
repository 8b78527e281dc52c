"""Lua scripts: one a file in a `lua/` folder, each with a header that names its KEYS and ARGV.

A call is one EVALSHA. NOSCRIPT (a restarted server, SCRIPT FLUSH, a failover) reloads the script and calls it again,
which is safe because the server refused before running anything. Nothing else is replayed: a call that timed out may
have run.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from .direct import aask, ask

Argument = str | bytes | int | float


class Script:
    """A script file, read once at import; callable with a sync client, `call_async` with an async one."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.text = path.read_text(encoding="utf-8")
        if not re.match(r"(#!lua .*\n)?-- ", self.text):  # after the flags that the server knows it by
            raise ValueError(f"{path.name} needs a header that names its KEYS and ARGV")
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, client: redis.Redis, keys: list[str], args: list[Argument]) -> Any:
        try:
            return ask(client, "EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return ask(client, "EVAL", self.text, len(keys), *keys, *args)

    async def call_async(self, client: redis.asyncio.Redis, keys: list[str], args: list[Argument]) -> Any:
        try:
            return await aask(client, "EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await aask(client, "EVAL", self.text, len(keys), *keys, *args)


@dataclass(frozen=True, slots=True)
class Run:
    """One call of a script, of several in one round trip."""

    script: Script
    keys: Sequence[str]
    args: Sequence[Argument] = ()

    def command(self) -> list[Any]:
        return ["EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args]

    def whole(self) -> list[Any]:
        """For a server that does not know the script yet."""
        return ["EVAL", self.script.text, len(self.keys), *self.keys, *self.args]


def run_all(client: redis.Redis, runs: Sequence[Run]) -> list[Any]:
    """Their answers, in one round trip: on a Cluster one to each node that has their keys, sent together.

    Raises what the first of them met, though others may have been carried out.
    """
    return _without_errors(run_each(client, runs))


async def arun_all(client: redis.asyncio.Redis, runs: Sequence[Run]) -> list[Any]:
    """As `run_all`, on the running event loop."""
    return _without_errors(await arun_each(client, runs))


def run_each(client: redis.Redis, runs: Sequence[Run]) -> list[Any]:
    """As `run_all`, with an exception in the place of each answer that did not come."""
    answers = _pipelined(client, runs).execute(raise_on_error=False)
    for at in _unknown(answers):
        answers[at] = client.execute_command(*runs[at].whole())
    return answers


async def arun_each(client: redis.asyncio.Redis, runs: Sequence[Run]) -> list[Any]:
    answers = await _pipelined(client, runs).execute(raise_on_error=False)
    for at in _unknown(answers):
        answers[at] = await client.execute_command(*runs[at].whole())
    return answers


def _pipelined(client: Any, runs: Sequence[Run]) -> Any:
    pipeline = client.pipeline(transaction=False)
    for run in runs:
        pipeline.execute_command(*run.command())
    return pipeline


def _unknown(answers: list[Any]) -> list[int]:
    """Places of the calls whose script the server did not know, and so has not run."""
    return [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]


def _without_errors(answers: list[Any]) -> list[Any]:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def load(folder: Path, name: str) -> Script:
    """The script `name`.lua of a package's `lua/` folder. Raises FileNotFoundError at import if it is missing."""
    return Script(folder / "lua" / f"{name}.lua")
