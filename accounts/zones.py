"""The time zones that people choose from."""

from functools import cache
from itertools import groupby
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError

Choices = list[tuple[str, str | list[tuple[str, str]]]]

# Legacy names beside the regions; each is another name for a zone that has a place.
_REGIONS = frozenset("Africa America Antarctica Arctic Asia Atlantic Australia Europe Indian Pacific".split())


def default_time_zone() -> str:
    """Of a new account, until its person chooses."""
    return settings.TIME_ZONE


@cache
def zone_names() -> frozenset[str]:
    """All names that the system knows; UTC also where it has no time zone data. Read from disk once a process."""
    return frozenset(available_timezones() | {"UTC"})


def validate_time_zone(name: str) -> None:
    """Raises ValidationError for a name that `zoneinfo` would not take."""
    if name not in zone_names():
        raise ValidationError(f"{name} is not a time zone. Use a name such as Europe/Berlin.")


def zone(name: str) -> ZoneInfo:
    """UTC for a name that this system does not know: who has such a zone must still get the page that changes it."""
    return ZoneInfo(name if name in zone_names() else "UTC")


@cache
def listed_zones() -> frozenset[str]:
    """What a select offers: the zones named for a place, and UTC."""
    return frozenset(name for name in zone_names() if name.partition("/")[0] in _REGIONS) | {"UTC"}


def zone_choices(current: str = "UTC") -> Choices:
    """Choices for a select, grouped by region, UTC first; before it `current` if it is an older name."""
    return _listed_choices() if current in listed_zones() else [(current, current), *_listed_choices()]


@cache
def _listed_choices() -> Choices:
    groups = groupby(sorted(listed_zones() - {"UTC"}), lambda name: name.partition("/")[0])
    return [
        ("UTC", "UTC"),
        *((region, [(name, _label(name)) for name in names]) for region, names in groups),
    ]


def _label(name: str) -> str:
    return name.partition("/")[2].replace("_", " ").replace("/", ", ")
