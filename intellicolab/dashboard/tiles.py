"""A figure at the head of a page."""

from dataclasses import dataclass

from .sparkline import Sparkline


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure. `exact` is its tooltip, `note` says what it is made of, `bounds` the range it should stay in."""

    label: str
    figure: str
    exact: str = ""
    note: str = ""
    bounds: str = ""
    problem: bool = False
    spark: Sparkline | None = None
