"""What is shown of a person all over the site: cache-aside, ten minutes, invalidated after each update's commit."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from django.urls import reverse

from intellicolab.cache.declaration import Cached
from intellicolab.cache.strategies import CacheAside

from . import names
from .models import User

PROFILE_TTL = 10 * 60  # seconds
TINTS = 8

# A change to any of these makes a cached profile old.
FIELDS = ("display_name", "bio", "time_zone", "avatar", "is_active", "is_placeholder")


class Profile(msgspec.Struct, frozen=True):
    """A person as others see them. `tint` (0 to 7) colours the initials; `avatar` is an address, or empty."""

    id: int
    name: str
    initials: str
    tint: int
    avatar: str
    bio: str
    time_zone: str
    active: bool


def profile_of(user: User) -> Profile:
    """The profile made from the row itself."""
    return Profile(
        id=user.pk,
        name=user.display_name,
        initials=names.initials(user.display_name),
        tint=user.pk % TINTS,
        avatar=reverse("avatar", args=[Path(user.avatar.name).name]) if user.avatar.name else "",
        bio=user.bio,
        time_zone=user.time_zone,
        active=user.is_active and not user.is_placeholder,
    )


def _load(user_id: int) -> Profile | None:
    return _load_many([user_id]).get(user_id)


def _load_many(user_ids: Sequence[int]) -> dict[int, Profile]:
    rows = User.objects.filter(pk__in=user_ids).only(*FIELDS)
    return {user.pk: profile_of(user) for user in rows}


_profiles: Cached[Profile] = Cached(
    "profile", "{user_id}", _load, many=_load_many, ttl=PROFILE_TTL, type=Profile, strategy=CacheAside()
)


def get_profile(user_id: int) -> Profile | None:
    """The profile of one person, or None when there is no such person."""
    return _profiles.get(user_id)


def get_profiles(user_ids: Iterable[int]) -> dict[int, Profile | None]:
    """The profiles of several people, in one round trip and at most one query."""
    return _profiles.get_many(user_ids)


def forget_after_commit(*user_ids: int) -> None:
    """Have the next readers load these people anew, once the running transaction has committed."""
    _profiles.invalidate_many(user_ids)
