"""Measurements taken in turn: a machine's slow minutes then fall on every contender, not on one."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

R = TypeVar("R")


def interleaved(contenders: Mapping[str, Callable[[], R]], rounds: int) -> dict[str, list[R]]:
    """What each contender measured, in as many rounds, one contender after the other."""
    found: dict[str, list[R]] = {name: [] for name in contenders}
    for number in range(1, rounds + 1):
        for name, measure in contenders.items():
            found[name].append(measure())
            print(f"  round {number}  {name:<36}{shown(found[name][-1])}", flush=True)
    return found


def medians(contenders: Mapping[str, Callable[[], float]], rounds: int = 3) -> dict[str, float]:
    """The median of what each contender measured."""
    return {name: statistics.median(values) for name, values in interleaved(contenders, rounds).items()}


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest of the values that so many percent of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def shown(figures: object) -> str:
    return "".join(f"{figure:>12,.0f}" for figure in (figures if isinstance(figures, tuple) else (figures,)))
