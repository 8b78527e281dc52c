"""An event loop for what is called many times."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from intellicolab.redis.client import aclose


@contextmanager
def loop() -> Iterator[asyncio.Runner]:
    """Its connections are closed at the end."""
    with asyncio.Runner() as runner:
        try:
            yield runner
        finally:
            runner.run(aclose())
