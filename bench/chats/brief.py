"""How long the parts take: as long as the figures need or, with BENCH_BRIEF, a moment, to see that all of them work."""

import os

BRIEF = bool(os.environ.get("BENCH_BRIEF"))
ROUNDS = 1 if BRIEF else 3


def seconds(full: float) -> float:
    return 0.5 if BRIEF else full


def count(full: int) -> int:
    return full // 10 if BRIEF else full
