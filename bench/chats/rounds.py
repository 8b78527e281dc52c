"""How long the parts take: as long as the figures need, or briefly, to see that all of them work."""

import os

BRIEF = bool(os.environ.get("BENCH_BRIEF"))
ROUNDS = 1 if BRIEF else 3


def seconds(full: float) -> float:
    return 0.5 if BRIEF else full


def count(full: int) -> int:
    return full // 10 if BRIEF else full


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
