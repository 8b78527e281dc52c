"""A trend as an SVG path: coordinates only, so that the strict policy needs no exception for styles."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 120, 28
_MARGIN = 2  # keeps the line's own width inside the picture


@dataclass(frozen=True, slots=True)
class Sparkline:
    """`line` and `area` are path data; empty when nothing happened. `peak` is the highest value."""

    line: str
    area: str
    peak: int
    label: str


def sparkline(values: Sequence[int], label: str) -> Sparkline:
    """Values at equal distances, oldest first, from zero at the foot to their peak at the top."""
    peak = max(values, default=0)
    if peak <= 0 or len(values) < 2:
        return Sparkline("", "", 0, label)
    step = WIDTH / (len(values) - 1)
    points = [f"{index * step:.1f},{_height(value, peak):.1f}" for index, value in enumerate(values)]
    line = "M" + " L".join(points)
    return Sparkline(line, f"{line} L{WIDTH},{HEIGHT} L0,{HEIGHT} Z", peak, f"{label}; at most {peak:,} a minute")


def _height(value: int, peak: int) -> float:
    return HEIGHT - _MARGIN - (HEIGHT - 2 * _MARGIN) * max(value, 0) / peak
