"""The pages of exports: to ask, to wait, to cancel, to download. Without JavaScript the page renews itself."""

from django.contrib import messages
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from ratelimit import limits

from . import queries
from .errors import ChatError
from .exporting import files
from .exporting.standing import standing_of
from .models import Export
from .services import exports
from .views import chat_page, person


@require_http_methods(["GET", "POST"])
@chat_page
@cache_control(private=True, no_store=True)
def room_export(request: HttpRequest, room_id: int) -> HttpResponse:
    found = queries.entry_for(person(request), room_id)
    if request.method == "POST":
        _ask(request, found)
        return redirect("room_export", room_id)
    export = Export.objects.of(person(request), room_id).first()
    standing = standing_of(export) if export is not None else None
    return render(request, "realtime/export.html", {"room": found, "export": export, "standing": standing})


def _ask(request: HttpRequest, room: queries.RoomEntry) -> None:
    """Counted are exports that begin: a second click on the button is none."""
    limits.note(request, limits.enforce("export", request))
    begins = False
    try:
        begins = exports.ask_export(person(request), room.id)
    finally:
        if not begins:
            limits.refund("export", request)


@require_POST
@chat_page
def room_export_cancel(request: HttpRequest, room_id: int) -> HttpResponse:
    if not exports.cancel_export(person(request), room_id):
        messages.info(request, "There was nothing to cancel any more.")
    return redirect("room_export", room_id)


@require_GET
@chat_page
@cache_control(private=True, no_store=True)
def room_export_state(request: HttpRequest, room_id: int) -> HttpResponse:
    """How far it is, as JSON."""
    standing = standing_of(_export(request, room_id))
    return JsonResponse({"state": standing.state, "percent": standing.percent, "doing": standing.doing})


@require_GET
@chat_page
@cache_control(private=True, no_store=True)
def room_export_file(request: HttpRequest, room_id: int) -> FileResponse:
    """For who is in the room now, and asked for it."""
    room, export = queries.entry_for(person(request), room_id), _export(request, room_id)
    if export.made_at is None or export.is_over:
        raise ChatError("no_export")
    try:
        file = files.path_of(export.file).open("rb")
    except FileNotFoundError as error:
        raise ChatError("no_export") from error
    name = f"{room.title} {timezone.localtime(export.made_at):%Y-%m-%d}.zip"
    headers = {"X-Content-Type-Options": "nosniff"}
    return FileResponse(file, as_attachment=True, filename=name, content_type="application/zip", headers=headers)


def _export(request: HttpRequest, room_id: int) -> Export:
    """The person's own, in a room that they are in. Raises ChatError no_export."""
    export = Export.objects.of(person(request), room_id).first()
    if export is None:
        raise ChatError("no_export")
    return export
