"""The pages of chat: parse, ask queries and services, render. What chat refuses becomes a page with its status."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.forms import Form
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import last_seen
from accounts.models import User
from accounts.profiles import profile_of

from . import directory as rooms
from . import history, queries, services, visits
from .errors import ChatError
from .forms import AddMemberForm, MessageForm, RoomForm, RoomSettingsForm
from .models import Membership, Room
from .templatetags.chat import lists
from .timeline import lines

View = Callable[..., HttpResponseBase]
PEOPLE_PAGE = 100
STATUS = {
    "no_room": 404,
    "no_message": 404,
    "no_export": 404,
    "untold": 503,
    "archived": 409,
    "last_owner": 409,
    "name_taken": 409,
    "busy": 503,
    "unavailable": 503,
    "not_member": 403,
    "not_open": 403,
    "not_owner": 403,
    "inactive": 403,
    "direct_room": 403,
}


def chat_page(view: View) -> View:
    """For signed-in people; a ChatError that the view lets through becomes a page that says what was refused."""

    @wraps(view)
    @login_required
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except ChatError as error:
            return refusal(request, error, kwargs.get("room_id"))

    return wrapper


def refusal(request: HttpRequest, error: ChatError, room_id: int | None) -> HttpResponse:
    """A room that anyone may join is offered to whoever follows a link to it."""
    status = STATUS.get(error.code, 400)
    if request.headers.get("Accept", "").startswith("application/json"):
        return JsonResponse({"error": error.detail, "code": error.code}, status=status)
    joinable = Room.objects.directory().filter(pk=room_id or 0).first() if error.code == "no_room" else None
    return render(request, "realtime/refused.html", {"error": error, "joinable": joinable}, status=status)


def person(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


# --- Finding a room --------------------------------------------------------------------------------------------------


@require_GET
@chat_page
def home(request: HttpRequest) -> HttpResponse:
    newest = queries.newest_room_of(person(request))
    if newest is not None:
        return redirect("room", newest)
    return render(request, "realtime/first_visit.html")


@require_GET
@chat_page
def sidebar(request: HttpRequest) -> HttpResponse:
    """The sidebar's lists alone, for a page that is told its rooms have changed."""
    return render(request, "realtime/sidebar_lists.html", lists({}, person(request), None, None))


@require_GET
@chat_page
def directory(request: HttpRequest) -> HttpResponse:
    page = rooms.page(_whole(request.GET.get("page", "")) or 1)
    joined = queries.joined_among(person(request), [room.id for room in page.rooms])
    return render(request, "realtime/directory.html", {"page": page, "joined": joined})


@require_GET
@chat_page
def people(request: HttpRequest) -> HttpResponse:
    page = Paginator(queries.people(person(request)), PEOPLE_PAGE).get_page(request.GET.get("page"))
    seen = last_seen.of([user.pk for user in page])
    profiles = [(profile_of(user), seen.get(user.pk)) for user in page]
    return render(request, "realtime/people.html", {"page": page, "profiles": profiles})


@require_POST
@chat_page
def direct(request: HttpRequest, user_id: int) -> HttpResponse:
    other = get_object_or_404(User, pk=user_id, is_placeholder=False)
    return redirect("room", services.open_direct_room(person(request), other).pk)


@require_http_methods(["GET", "POST"])
@chat_page
def room_new(request: HttpRequest) -> HttpResponse:
    form = RoomForm(request.POST or None)
    if form.is_valid():
        made = _try(form, services.create_room, person(request), **form.cleaned_data)
        if made is not None:
            return redirect("room", made.pk)
    return render(request, "realtime/room_new.html", {"form": form}, status=400 if form.errors else 200)


# --- Inside a room ---------------------------------------------------------------------------------------------------


@require_GET
@chat_page
def room(request: HttpRequest, room_id: int) -> HttpResponse:
    page = _room_page(request, room_id, MessageForm())
    visits.count(room_id)
    return page


@require_GET
@chat_page
def room_read(request: HttpRequest, room_id: int) -> HttpResponse:
    """The picture that a page without JavaScript asks for: it was opened, so what it shows is read.

    A link on another site must not do that in the reader's name; browsers say where a request comes from.
    """
    upto = _whole(request.GET.get("upto", ""))
    if upto and request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin":
        services.mark_read(person(request).pk, room_id, upto)
    return HttpResponse(status=204)


@require_http_methods(["GET", "POST"])
@chat_page
def room_messages(request: HttpRequest, room_id: int) -> HttpResponse:
    """GET: a page of history as JSON, the version it was made from beside it. POST: a message, without JavaScript."""
    if request.method == "POST":
        return _post_message(request, room_id)
    found = queries.entry_for(person(request), room_id)
    page, more = _history(request, found)
    return JsonResponse({"messages": page, "more": more, "version": found.last_version})


@require_GET
@chat_page
def room_message(request: HttpRequest, room_id: int, number: int) -> HttpResponse:
    """What the author of a message typed, as JSON, for editing it."""
    message = queries.own_message(person(request), room_id, number)
    return JsonResponse({"text": message.text, "version": message.version})


@require_http_methods(["GET", "POST"])
@chat_page
def room_settings(request: HttpRequest, room_id: int) -> HttpResponse:
    found = queries.room_for(person(request), room_id)
    form = RoomSettingsForm(request.POST or None, initial={"name": found.name, "topic": found.topic})
    if form.is_valid() and _try(form, services.update_room, person(request), found, **form.cleaned_data):
        messages.success(request, "The room was changed.")
        return redirect("room_settings", room_id)
    return _settings_page(request, room_id, form)


@require_POST
@chat_page
def room_join(request: HttpRequest, room_id: int) -> HttpResponse:
    found = get_object_or_404(Room.objects.directory(), pk=room_id)
    services.join_room(person(request), found)
    return redirect("room", room_id)


@require_POST
@chat_page
def room_leave(request: HttpRequest, room_id: int) -> HttpResponse:
    found = queries.room_for(person(request), room_id)
    services.leave_room(person(request), found)
    messages.info(request, f"You have left {found}.")
    return redirect("directory")


@require_POST
@chat_page
def room_members(request: HttpRequest, room_id: int) -> HttpResponse:
    found = queries.room_for(person(request), room_id)
    form = AddMemberForm(request.POST, people=queries.addable(room_id))
    if form.is_valid():
        services.add_member(person(request), found, form.cleaned_data["user"])
        messages.success(request, f"{form.cleaned_data['user']} is in the room now.")
    else:
        messages.error(request, "Choose a person who is not in the room yet.")
    return redirect("room_settings", room_id)


@require_POST
@chat_page
def member_remove(request: HttpRequest, room_id: int, user_id: int) -> HttpResponse:
    member = _member(request, room_id, user_id)
    services.remove_member(person(request), member)
    messages.success(request, f"{member.user} is no longer in the room.")
    return redirect("room_settings", room_id)


@require_POST
@chat_page
def member_owner(request: HttpRequest, room_id: int, user_id: int) -> HttpResponse:
    member = _member(request, room_id, user_id)
    services.make_owner(person(request), member)
    messages.success(request, f"{member.user} is an owner of the room now.")
    return redirect("room_settings", room_id)


@require_POST
@chat_page
def room_archive(request: HttpRequest, room_id: int) -> HttpResponse:
    services.archive_room(person(request), queries.room_for(person(request), room_id))
    return redirect("room", room_id)


def _member(request: HttpRequest, room_id: int, user_id: int) -> Membership:
    """Somebody's membership of one of the reader's own rooms."""
    return get_object_or_404(queries.members(queries.room_for(person(request), room_id).pk), user=user_id)


def _post_message(request: HttpRequest, room_id: int) -> HttpResponse:
    form = MessageForm(request.POST)
    if form.is_valid():
        data = form.cleaned_data
        new = services.NewMessage(room_id, person(request).pk, data["id"], data["text"].replace("\r\n", "\n"))
        if _try(form, services.post_message, new):
            return redirect("room", room_id)
    return _room_page(request, room_id, form, status=400)


def _room_page(request: HttpRequest, room_id: int, form: Form, status: int = 200) -> HttpResponse:
    found = queries.entry_for(person(request), room_id)
    page = history.page_before(found, _number(request, "before"))
    newest_shown = page[-1]["number"] if page else 0
    context = {
        "room": found,
        "lines": lines(page, timezone.get_current_timezone()),
        "more": _has_older(page),
        "is_newest": newest_shown >= found.last_number,
        "newest_shown": newest_shown,
        "form": form,
    }
    return render(request, "realtime/room.html", context, status=status)


def _settings_page(request: HttpRequest, room_id: int, form: Form) -> HttpResponse:
    found = queries.entry_for(person(request), room_id)
    members = list(queries.members(room_id))
    owners = {member.user_id for member in members if member.role == Membership.Role.OWNER}
    context = {
        "room": found,
        "visits": visits.totals([room_id])[room_id],
        "members": [(member, profile_of(member.user)) for member in members],
        "is_owner": person(request).is_superuser or person(request).pk in owners,
        "form": form,
        "add_form": AddMemberForm(people=queries.addable(room_id)),
    }
    return render(request, "realtime/room_settings.html", context, status=400 if form.errors else 200)


def _try(form: Form, service: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the service returns, or None with its refusal shown in the form."""
    try:
        return service(*args, **kwargs)
    except ChatError as error:
        form.add_error(None, error.detail)
        return None


def _history(request: HttpRequest, found: queries.RoomEntry) -> tuple[list[dict[str, Any]], bool]:
    """The page that `?before=` or `?after=` asks for (`before` where there are both, the newest without either), and
    whether there is more beyond it.

    The entry was read first: what is beyond its last number has a version beyond its last, and comes as a change.
    """
    before, after = _number(request, "before"), _number(request, "after")
    if before is not None or after is None:
        page = history.page_before(found, before)
        return page, _has_older(page)
    page = queries.messages_after(found.id, after)
    return page, bool(page) and page[-1]["number"] < found.last_number


def _number(request: HttpRequest, name: str) -> int | None:
    """A message number in the address, or nothing where it isn't one."""
    return _whole(request.GET.get(name, ""))


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _has_older(page: list[dict[str, Any]]) -> bool:
    """Numbers begin at 1 and have no gaps, so the first one tells without a query."""
    return bool(page) and page[0]["number"] > 1
