"""What every template knows."""

from typing import Any

from allauth.account.adapter import get_adapter
from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from .profiles import Profile, get_profile
from .tiers import Tier, tier_of


def site(request: HttpRequest) -> dict[str, Any]:
    """`site_name`; `me`, `tier`: profile and tier of who is signed in, or something false; `may_sign_up`: whether this
    visitor may.

    What takes a query is asked for only where it is used.
    """
    return {
        "site_name": settings.SITE_NAME,
        "me": SimpleLazyObject(lambda: _profile_of_reader(request)),
        "tier": SimpleLazyObject(lambda: _tier_of_reader(request)),
        "may_sign_up": SimpleLazyObject(lambda: get_adapter(request).is_open_for_signup(request)),
    }


def _profile_of_reader(request: HttpRequest) -> Profile | None:
    user = getattr(request, "user", None)
    return get_profile(user.pk) if user is not None and user.is_authenticated else None


def _tier_of_reader(request: HttpRequest) -> Tier | None:
    user = getattr(request, "user", None)
    return tier_of(user.pk) if user is not None and user.is_authenticated else None
