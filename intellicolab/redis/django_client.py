"""django-redis' client for every topology, chosen by `CACHES["…"]["OPTIONS"]["CLIENT_CLASS"]`.

django-redis has none for a Cluster (jazzband/django-redis#606). Its default one works on ours, because what it calls is
spread over the slots there: MGET and DEL of many keys, pipelines of one key a command, SCAN and FLUSHDB of every
primary. What is here is what it does without bounds.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from django_redis.client.default import DefaultClient

BATCH = 1000  # keys a round trip; a server answers nobody else meanwhile


class CacheClient(DefaultClient):
    def get_client(self, write: bool = True, tried: list[int] | None = None) -> Any:
        """The shared client of now: django-redis would keep the first one through `client.close()`."""
        return self.connect()

    def get_client_with_index(self, write: bool = True, tried: list[int] | None = None) -> tuple[Any, int]:
        return self.connect(), 0

    def keys(self, search: str, version: int | None = None, client: Any = None) -> list[str]:
        """The matching keys, in no order. By SCAN: the KEYS command would stop the server for everybody."""
        return list(self.iter_keys(search, itersize=BATCH, version=version, client=client))

    def delete_pattern(
        self,
        pattern: str,
        version: int | None = None,
        prefix: str | None = None,
        client: Any = None,
        itersize: int | None = None,
    ) -> int:
        """Remove the matching keys and return how many there were, never more than BATCH at once."""
        client = client or self.get_client(write=True)
        match = self.make_pattern(pattern, version=version, prefix=prefix)
        names = client.scan_iter(match=match, count=max(itersize or 0, BATCH))
        return sum(client.unlink(*batch) for batch in _batches(names))


def _batches(names: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(names, BATCH)):
        yield batch
