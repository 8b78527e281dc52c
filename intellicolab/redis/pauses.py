"""How long to wait before something that failed is tried again."""

import random

MOST_DOUBLINGS = 30  # a float has no 2^1024: an outage of some hours must not end who waits for it


def pause_after(failures: int, first: float, longest: float) -> float:
    """Seconds after so many failures in a row: doubled each time, up to a half of it less at random, so that those who
    failed together don't come back together."""
    whole: float = min(first * 2.0 ** min(failures - 1, MOST_DOUBLINGS), longest)
    return whole * random.uniform(0.5, 1.0)  # noqa: S311  jitter, not a secret
