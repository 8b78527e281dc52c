"""Who people are: one's own profile, other people's, and the pictures."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from .. import avatars, last_seen, services
from ..forms import ProfileForm
from ..models import User
from ..own_settings import settings_of
from ..profiles import get_profile

FOREVER = "private, max-age=31536000, immutable"  # a picture's name is random: another picture has another name


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def edit(request: HttpRequest) -> HttpResponse:
    user = request.user
    own = settings_of(user.pk) if isinstance(user, User) else None
    if not isinstance(user, User) or own is None:
        raise Http404
    form = ProfileForm(own, request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        services.update_profile(user, **form.cleaned_data)
        messages.success(request, "Your profile is saved.")
        return redirect("profile")
    return render(request, "accounts/profile.html", {"form": form}, status=422 if form.errors else 200)


@require_safe
@login_required
@never_cache
def person(request: HttpRequest, user_id: int) -> HttpResponse:
    profile = get_profile(user_id)
    if profile is None:
        raise Http404
    seen = last_seen.of([user_id]).get(user_id)
    return render(request, "accounts/person.html", {"person": profile, "last_seen": seen})


@require_safe
@login_required
def avatar(request: HttpRequest, name: str) -> HttpResponse:
    picture = avatars.read(name)
    if picture is None:
        raise Http404
    headers = {"Cache-Control": FOREVER, "X-Content-Type-Options": "nosniff"}
    return HttpResponse(picture, content_type="image/webp", headers=headers)
