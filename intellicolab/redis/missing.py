"""A stream or a group that is not there: an error to Redis, and to who looks nothing but an empty one."""

from typing import Any

from redis.exceptions import ResponseError


def is_missing(error: Exception) -> bool:
    return isinstance(error, ResponseError) and ("no such key" in str(error).lower() or "NOGROUP" in str(error))


def answered(answer: Any) -> Any:
    """One answer of a pipeline that raises nothing; None for what is missing. Raises any other error."""
    if isinstance(answer, Exception) and is_missing(answer):
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer
