"""Where one is signed in, and signing out there."""

from typing import Any

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from .. import devices as registry


def here(request: HttpRequest) -> tuple[int, str | None]:
    """(the person, the session of this very request, by its hash)."""
    session: Any = request.session
    return session.user_id, session.hash


@require_safe
@login_required
@never_cache
def devices(request: HttpRequest) -> HttpResponse:
    listed = registry.of(*here(request))
    others = sum(not device.is_current for device in listed)
    return render(request, "accounts/devices.html", {"devices": listed, "others": others})


@require_POST
@login_required
def sign_out(request: HttpRequest) -> HttpResponse:
    """Of one device; only of one's own, whatever the form says."""
    user_id, current = here(request)
    session = request.POST.get("device", "")
    if session == current:
        logout(request)
        return redirect("account_login")
    if registry.end_one(user_id, session):
        messages.success(request, "That device is signed out.")
    else:
        messages.info(request, "That device was signed out already.")
    return redirect("devices")


@require_POST
@login_required
def sign_out_others(request: HttpRequest) -> HttpResponse:
    user_id, current = here(request)
    count = registry.end_all(user_id, keep=current)
    if count:
        messages.success(request, f"{count} other device{' is' if count == 1 else 's are'} signed out.")
    else:
        messages.info(request, "No other device was signed in any more.")
    return redirect("devices")
