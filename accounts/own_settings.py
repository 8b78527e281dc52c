"""A person's own settings: written through by `services.update_profile`, read with every page for its time zone."""

from zoneinfo import ZoneInfo

import msgspec

from intellicolab.cache.declaration import Cached
from intellicolab.cache.strategies import WriteThrough

from .models import User
from .zones import zone

SETTINGS_TTL = 60 * 60  # seconds
LOCAL = (5_000, 4 * 1024 * 1024)  # people and bytes of this process; a bio may have 500 characters

# What a person changes on their profile page; the fields of the row are named as here.
FIELDS = ("display_name", "bio", "time_zone", "avatar")


class OwnSettings(msgspec.Struct, frozen=True):
    """`avatar` is the name of the stored picture, or empty."""

    display_name: str
    bio: str
    time_zone: str
    avatar: str

    @property
    def zone(self) -> ZoneInfo:
        return zone(self.time_zone)


def settings_in(user: User) -> OwnSettings:
    """The settings as the row itself has them."""
    return OwnSettings(user.display_name, user.bio, user.time_zone, user.avatar.name or "")


def differing(one: OwnSettings, other: OwnSettings) -> list[str]:
    """The fields in which they differ."""
    return [name for name in FIELDS if getattr(one, name) != getattr(other, name)]


def _load(user_id: int) -> OwnSettings | None:
    user = User.objects.only(*FIELDS).filter(pk=user_id).first()
    return settings_in(user) if user is not None else None


def _write(user_id: int, value: OwnSettings) -> OwnSettings:
    """By an update, which sends no `post_save`: its receivers would forget, after the commit, what is stored here."""
    User.objects.filter(pk=user_id).update(**msgspec.structs.asdict(value))
    return value


_settings: Cached[OwnSettings] = Cached(
    "own-settings", "{user_id}", _load, ttl=SETTINGS_TTL, type=OwnSettings, strategy=WriteThrough(writer=_write),
    local=LOCAL,
)  # fmt: skip


def settings_of(user_id: int) -> OwnSettings | None:
    """The settings of a person, or None when there is no such person."""
    return _settings.get(user_id)


def write(user_id: int, value: OwnSettings) -> OwnSettings:
    """Change row and cache together; the cache after the commit of the running transaction, if there is one."""
    return _settings.set(user_id, value=value)


def forget_after_commit(user_id: int) -> None:
    """For who writes the row in another way."""
    _settings.invalidate(user_id)
