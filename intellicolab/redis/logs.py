"""What is left out of the log while Redis is away."""

import logging

from redis.exceptions import RedisError


class WithoutOutages(logging.Filter):
    """Drops tracebacks of lost connections: channels-redis logs one a second, where our own links say it once."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], (RedisError, OSError)))
