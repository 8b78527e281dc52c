"""Pages of the admin that belong to no model."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from intellicolab.events import operations
from intellicolab.events.groups import named

from .acting import Deed, Question, ask, carry_out
from .broker import AREA, events_page

OPERATE_EVENTS = "events.operate_events"
VIEW_LETTERS = "events.view_deadletter"


def events(request: HttpRequest) -> HttpResponse:
    """For everybody who may open the admin; the buttons and the letters for whoever may press and read them."""
    context = {
        **admin.site.each_context(request),
        "title": "Events",
        "page": events_page(),
        "may_operate": request.user.has_perm(OPERATE_EVENTS),
        "may_look": request.user.has_perm(VIEW_LETTERS),
    }
    return TemplateResponse(request, "dashboard/events.html", context)


def pause_group(request: HttpRequest, group: str) -> HttpResponse:
    _check(request, group)
    back = reverse("admin:events")
    if request.method == "POST":
        by = str(request.user)
        return carry_out(request, lambda: operations.pause(group, by), Deed(AREA, group, "Paused"), back)
    meaning = (
        "What it has in hand it finishes; then it takes nothing more. Its facts wait, none is lost, and it goes on "
        "with them when it is resumed. But a stream that one group does not empty fills up in the end. Further facts "
        "then wait in the database, for the other groups of the stream as well."
    )
    return ask(request, Question(f"Pause {group}?", meaning, "Pause", back, [("Events", back)]))


def resume_group(request: HttpRequest, group: str) -> HttpResponse:
    _check(request, group)
    back = reverse("admin:events")
    if request.method == "POST":
        return carry_out(request, lambda: operations.resume(group), Deed(AREA, group, "Resumed"), back)
    meaning = "Within a second it goes on with everything that has waited for it."
    return ask(request, Question(f"Resume {group}?", meaning, "Resume", back, [("Events", back)]))


def _check(request: HttpRequest, group: str) -> None:
    if not request.user.has_perm(OPERATE_EVENTS):
        raise PermissionDenied
    try:
        named([group])
    except LookupError as error:
        raise Http404(str(error)) from error
