"""Links that let people sign up."""

from urllib.parse import urljoin

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from intellicolab.errors import error_response

from .. import queries, services
from ..forms import InvitationForm
from ..models import Invitation

# Where a new link waits for the one page that shows it.
NEW_LINK = "new_invitation_link"


def require_administrator(request: HttpRequest) -> None:
    if not request.user.is_staff:
        raise PermissionDenied("Only administrators make invitations. Ask one to invite whom you have in mind.")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def invitations(request: HttpRequest) -> HttpResponse:
    """The links made so far, a form for a new one, and right after it was made the new one, once."""
    require_administrator(request)
    form = InvitationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        _, token = Invitation.issue(request.user, form.cleaned_data["max_uses"])  # type: ignore[arg-type]
        request.session[NEW_LINK] = link_to(request, token)
        return redirect("invitations")
    context = {
        "form": form,
        "link": request.session.pop(NEW_LINK, "") if request.method == "GET" else "",
        "invitations": queries.invitations(),
        "signup_is_open": settings.SIGNUP == "open",
    }
    return render(request, "accounts/invitations.html", context, status=422 if form.errors else 200)


def link_to(request: HttpRequest, token: str) -> str:
    path = reverse("invite", args=[token])
    return urljoin(settings.PUBLIC_URL, path) if settings.PUBLIC_URL else request.build_absolute_uri(path)


@require_POST
@login_required
def revoke(request: HttpRequest, invitation_id: int) -> HttpResponse:
    require_administrator(request)
    invitation = get_object_or_404(Invitation, pk=invitation_id)
    if services.revoke_invitations([invitation]):
        messages.success(request, "The link admits nobody any more.")
    else:
        messages.info(request, "The link was revoked before.")
    return redirect("invitations")


@require_safe
@never_cache
def accept(request: HttpRequest, token: str) -> HttpResponse:
    """Follow a link: remember it for the sign-up, or say why it no longer works."""
    if request.user.is_authenticated:
        messages.info(request, "You already have an account here and are signed in.")
        return redirect("home")
    invitation = queries.invitation_by_token(token)
    if invitation is None:
        raise Http404
    if not invitation.is_usable:
        return refused(request, invitation)
    request.session[queries.INVITATION] = invitation.pk
    return redirect("account_signup")


def refused(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    return error_response(
        request,
        410,
        "This invitation no longer works",
        f"{why_spent(invitation)} Ask whoever sent it to you for a new one. "
        "If you have an account already, you can simply sign in.",
        template="accounts/invitation_spent.html",
    )


def why_spent(invitation: Invitation) -> str:
    if invitation.revoked_at:
        return "It was withdrawn."
    if invitation.expires_at <= timezone.now():
        return f"It was good for {Invitation.LIFETIME.days} days, and they are over."
    return "As many people as it admits have signed up with it."
