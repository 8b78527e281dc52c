"""django-redis on our clients: `CACHES` names roles, and this factory lends the pools of `client.py`."""

from functools import cache
from typing import Any
from urllib.parse import urlsplit

import redis
from django_redis.pool import ConnectionFactory

from .client import Role, client


@cache
def _role(url: str) -> Role:
    return Role(urlsplit(url).netloc)


class RoleConnectionFactory(ConnectionFactory):
    """Builds the client of the role that a cache's LOCATION names, as in `role://cache`."""

    def connect(self, url: str) -> redis.Redis:
        return client(_role(url))

    def disconnect(self, connection: Any) -> None:
        """Nothing: the pool is shared, and `client.close()` ends it when the process ends."""
