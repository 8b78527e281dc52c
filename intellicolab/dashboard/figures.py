"""Numbers for reading: rounded, with their unit; the exact one goes into the tooltip and the tables."""

from collections.abc import Sequence


def compact(number: float) -> str:
    """1234567 as "1.23 M": three digits at most."""
    return " ".join(_scaled(number, 1000, ("", "k", "M", "G", "T"))).rstrip()


def size(count: int) -> str:
    """Bytes in the binary units of IEC 80000-13: 1536 as "1.5 KiB"."""
    return " ".join(_scaled(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB")))


def _scaled(number: float, base: int, units: Sequence[str]) -> tuple[str, str]:
    """Three digits and the unit in which the number stays below `base`."""
    power = 0
    while abs(number) >= base - 0.5 and power < len(units) - 1:
        number /= base
        power += 1
    return (f"{number:.3g}" if abs(number) < 100 else f"{number:.0f}"), units[power]


def share(part: int, whole: int) -> float | None:
    """Per cent; None of nothing."""
    return 100 * part / whole if whole else None


def percent(value: float | None, none: str = "none") -> str:
    """A share for reading, `none` of nothing. What is not whole is never "100 %", what is there never "0 %"."""
    if value is None:
        return none
    if 99.9 < value < 100:
        return "> 99.9 %"
    if 0 < value < 0.1:
        return "< 0.1 %"
    return f"{value:.1f} %".replace(".0 %", " %")


def duration(seconds: int) -> str:
    for name, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return f"{seconds // length:,} {name}{'' if seconds // length == 1 else 's'}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


def age(seconds: float | None, none: str = "none") -> str:
    """A time that has passed or is to come, `none` for None."""
    if seconds is None:
        return none
    return duration(int(seconds)) if seconds >= 1 else "under a second"


def rate(value: float | None) -> str:
    """So many a second, three digits at most."""
    if value is None:
        return "none"
    return compact(value) if value >= 0.01 or value == 0 else "< 0.01"
