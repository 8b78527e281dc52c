"""Django's cache on our Redis: django-redis' backend, whose counters are exact in asynchronous code, too."""

from asgiref.sync import sync_to_async
from django_redis.cache import RedisCache


class Cache(RedisCache):
    async def aincr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Django's own gets and then sets: of two at the same time one is lost, and so is the time to live."""
        return await sync_to_async(self.incr)(key, delta, version=version)
