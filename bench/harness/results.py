"""Rows of figures: shown as a table, kept as JSON in var/bench/."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent.parent / "var" / "bench"


@dataclass(frozen=True)
class Row:
    """One figure. `bar` is what it must reach (None: it is only told); `peers` are others in the same unit."""

    figure: str
    value: float
    unit: str
    bar: float | None = None
    met: bool = True
    peers: Mapping[str, float] = field(default_factory=dict)
    conditions: str = ""


def at_least(figure: str, value: float, unit: str, bar: float, peers: Mapping[str, float], conditions: str) -> Row:
    """A figure of which more is better, with the least that will do."""
    return Row(figure, value, unit, bar, value >= bar, peers, conditions)


def at_most(figure: str, value: float, unit: str, bar: float, peers: Mapping[str, float], conditions: str) -> Row:
    """A figure of which less is better, with the most that will do."""
    return Row(figure, value, unit, bar, value <= bar, peers, conditions)


def machine() -> str:
    """Processor, number of cores, Python and system, in a line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = f"{len(models)} cores of {models[0]}" if models else platform.machine()
    return f"{processor}, Python {platform.python_version()}, {platform.system()} {platform.release()}"


def show(name: str, rows: list[Row]) -> None:
    print(f"\n{name}  ({machine()})")
    for row in rows:
        mark = "" if row.bar is None else f"  bar {number(row.bar)}: {'met' if row.met else 'MISSED'}"
        print(f"  {row.figure:<44}{number(row.value):>12} {row.unit}{mark}")
        for peer, value in row.peers.items():
            print(f"      {peer:<40}{number(value):>12} {row.unit}")
    for conditions in dict.fromkeys(row.conditions for row in rows if row.conditions):
        print(f"  {conditions}")


def table(title: str, columns: Sequence[str], lines: Mapping[str, Sequence[float]]) -> None:
    """Contenders side by side, several figures each."""
    print(f"\n  {title:<28}" + "".join(f"{column:>16}" for column in columns))
    for name, values in lines.items():
        print(f"  {name:<28}" + "".join(f"{number(value):>16}" for value in values), flush=True)


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def write(name: str, rows: list[Row]) -> Path:
    """Returns the file: var/bench/NAME.json, a list of rows."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False) + "\n")
    return path
