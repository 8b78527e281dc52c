"""What a person may count as: administrator or not, and in which groups.

Asked on every page and by every limit, so it is cached, in the process itself too, and no request asks the database.
It decides what is offered and how much; whether something is allowed, the database says.
"""

from collections.abc import Iterable, Sequence

import msgspec

from intellicolab.cache.declaration import Cached
from intellicolab.cache.strategies import CacheAside
from ratelimit.caller import AUTHENTICATED, STAFF

from .models import User

TIER_TTL = 10 * 60  # seconds
LOCAL = (10_000, 2 * 1024 * 1024)  # people and bytes of this process: 200 bytes a person, generously

# A change to any of these makes a cached tier old.
FIELDS = ("is_staff", "is_active", "is_placeholder")


class Tier(msgspec.Struct, frozen=True):
    """`kind` is "staff" for administrators, else "authenticated"; `groups` are the names of the person's groups."""

    kind: str
    groups: tuple[str, ...]

    @property
    def is_staff(self) -> bool:
        return self.kind == STAFF


def _load(user_id: int) -> Tier | None:
    return _load_many([user_id]).get(user_id)


def _load_many(user_ids: Sequence[int]) -> dict[int, Tier]:
    groups: dict[int, list[str]] = {}
    kinds: dict[int, str] = {}
    rows = User.objects.people().filter(pk__in=user_ids, is_active=True).order_by("groups__name")
    for user_id, staff, group in rows.values_list("pk", "is_staff", "groups__name"):
        kinds[user_id] = STAFF if staff else AUTHENTICATED
        groups.setdefault(user_id, []).extend([group] if group is not None else [])
    return {user_id: Tier(kind, tuple(groups[user_id])) for user_id, kind in kinds.items()}


_tiers: Cached[Tier] = Cached(
    "tier", "{user_id}", _load, many=_load_many, ttl=TIER_TTL, type=Tier, strategy=CacheAside(), local=LOCAL
)


def tier_of(user_id: int) -> Tier | None:
    """The tier of a person; None for nobody, and for who cannot sign in."""
    return _tiers.get(user_id)


async def atier_of(user_id: int) -> Tier | None:
    return await _tiers.aget(user_id)


def forget_after_commit(user_ids: Iterable[int]) -> None:
    """Have the next readers load these people's tiers anew, once the running transaction has committed."""
    _tiers.invalidate_many(user_ids)
