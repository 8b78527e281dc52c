"""Lua scripts: one a file in a `lua/` folder, each with a header that names its KEYS and ARGV.

A call is one EVALSHA. NOSCRIPT (a restarted server, SCRIPT FLUSH, a failover) reloads the script and calls it again,
which is safe because the server refused before running anything. Nothing else is replayed: a call that timed out may
have run.
"""

import hashlib
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

Argument = str | bytes | int | float


class Script:
    """A script file, read once at import; callable with a sync client, `call_async` with an async one."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.text = path.read_text(encoding="utf-8")
        if not self.text.startswith("-- "):
            raise ValueError(f"{path.name} needs a header that names its KEYS and ARGV")
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, client: redis.Redis, keys: list[str], args: list[Argument]) -> Any:
        try:
            return client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.eval(self.text, len(keys), *keys, *args)

    async def call_async(self, client: redis.asyncio.Redis, keys: list[str], args: list[Argument]) -> Any:
        try:
            return await client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await client.eval(self.text, len(keys), *keys, *args)


def load(folder: Path, name: str) -> Script:
    """The script `name`.lua of a package's `lua/` folder. Raises FileNotFoundError at import if it is missing."""
    return Script(folder / "lua" / f"{name}.lua")
