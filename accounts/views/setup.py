"""The first visit to an empty installation."""

from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from intellicolab.errors import error_response

from .. import queries, services
from ..forms import SetupForm


@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters("password", "code")
@never_cache
def setup(request: HttpRequest) -> HttpResponse:
    """Make the administrator, sign them in and go home; once."""
    if queries.is_installed():
        return already(request)
    # The address that `serve` prints carries the code, so that following it is all there is to do.
    form = SetupForm(request.POST or None, initial={"code": request.GET.get("code", "")})
    if request.method == "POST" and form.is_valid():
        return submit(request, form)
    return render(request, "accounts/setup.html", {"form": form}, status=422 if form.errors else 200)


def submit(request: HttpRequest, form: SetupForm) -> HttpResponse | HttpResponseRedirect:
    try:
        user = services.set_up(**form.values())
    except services.AlreadySetUp:
        return already(request)
    login(request, user)
    return redirect("home")


def already(request: HttpRequest) -> HttpResponse:
    return error_response(
        request,
        409,
        "This site is already set up",
        "It has its administrator, and setting it up works only once. Sign in, or ask the administrator to invite you.",
        template="accounts/already_set_up.html",
    )
