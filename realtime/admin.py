"""Chat in the admin: to find, to look at, and to moderate. Every change goes through `services`.

Rows are not deleted here: a room's numbers must have no gaps, and open clients must learn of a change. Whoever is not
a superuser may look, if allowed to, and change nothing, because the services would refuse it.
"""

from collections.abc import Callable, Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.utils.text import Truncator

from . import services
from .errors import CODES, ChatError
from .models import Export, Membership, Message, Room
from .services import exports

EXCERPT = 80  # characters of a message in the list
DELETED_AT_ONCE = 500  # messages; the form that asks names each one, and Django takes a thousand fields


class StampFilter(admin.SimpleListFilter):
    """Rows with and without a time in `field`, in the words of the subclass."""

    title = "state"
    parameter_name = "state"
    field: str
    words: tuple[str, str]  # without, with

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        without, stamped = self.words
        return [("no", without), ("yes", stamped)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in ("yes", "no"):
            return queryset
        return queryset.filter(**{f"{self.field}__isnull": self.value() == "no"})


class ArchivedFilter(StampFilter):
    field = "archived_at"
    words = ("Open for writing", "Archived")


class DeletedFilter(StampFilter):
    field = "deleted_at"
    words = ("There", "Deleted")


class RoomKindFilter(admin.SimpleListFilter):
    title = "kind of room"
    parameter_name = "room_kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(kind.value, kind.name.capitalize()) for kind in Room.Kind]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(room__kind=self.value()) if self.value() else queryset


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows are seen, not made, changed or deleted; `steer` is the permission of actions that go through services."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_steer_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def carry_out(self, request: HttpRequest, rows: Iterable[Any], act: Callable[[Any], object], done: str) -> None:
        """Do something to each row, and say for how many it was done and why it was refused for the others."""
        count = 0
        for row in rows:
            try:
                act(row)
            except ChatError as error:
                self.message_user(request, f"{row}: {error.detail}", messages.ERROR)
            else:
                count += 1
                self.log_change(request, row, f"{done}.")
        self.message_user(request, f"{done}: {count}.")


class RoomForm(forms.ModelForm):
    class Meta:
        model = Room
        fields = ("name", "topic")

    def clean_name(self) -> str:
        try:
            name = services.checked_name(self.cleaned_data["name"])
        except ChatError as error:
            raise forms.ValidationError(error.detail) from error
        same = Room.objects.directory().filter(name__iexact=name).exclude(pk=self.instance.pk)
        if self.instance.kind == Room.Kind.OPEN and not self.instance.is_archived and same.exists():
            raise forms.ValidationError(CODES["name_taken"])
        return name


@admin.register(Room)
class RoomAdmin(ReadOnlyAdmin):
    """Rooms are made in the chat, where their owner is; here they are renamed and archived."""

    form = RoomForm
    list_display = ("__str__", "kind", "topic", "people", "last_number", "created_by", "created_at", "archived_at")
    list_filter = ("kind", ArchivedFilter)
    list_select_related = ("created_by",)
    search_fields = ("name", "topic", "memberships__user__display_name", "memberships__user__email")
    ordering = ("-pk",)
    fields = ("name", "topic", "kind", "created_by", "created_at", "archived_at", "last_number", "last_version")
    readonly_fields = fields[2:]
    actions = ("archive",)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """A direct room has neither name nor topic."""
        is_direct = isinstance(obj, Room) and obj.kind == Room.Kind.DIRECT
        return self.has_steer_permission(request) and not is_direct

    def save_model(self, request: HttpRequest, obj: Room, form: forms.ModelForm, change: bool) -> None:
        services.update_room(request.user, obj, obj.name, obj.topic)  # type: ignore[arg-type]

    @admin.action(description="Archive: nobody can write there any more", permissions=["steer"])
    def archive(self, request: HttpRequest, queryset: QuerySet[Room]) -> None:
        self.carry_out(request, queryset, lambda room: services.archive_room(request.user, room), "Archived")  # type: ignore[arg-type]


@admin.register(Membership)
class MembershipAdmin(ReadOnlyAdmin):
    """Who is in which room. People join and are added in the chat."""

    list_display = ("user", "room", "role", "joined_at")
    list_filter = ("role", RoomKindFilter)
    list_select_related = ("user", "room")
    search_fields = ("user__display_name", "user__email", "room__name")
    ordering = ("-pk",)
    actions = ("make_owner", "remove")

    @admin.action(description="Make owner of the room", permissions=["steer"])
    def make_owner(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        self.carry_out(request, queryset, lambda row: services.make_owner(request.user, row), "Made owner")  # type: ignore[arg-type]

    @admin.action(description="Remove from the room", permissions=["steer"])
    def remove(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        def put_out(row: Membership) -> None:
            services.remove_member(request.user, row)  # type: ignore[arg-type]

        self.carry_out(request, queryset, put_out, "Removed from the room")


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    """What was said. A deleted message leaves a tombstone without text."""

    list_display = ("number", "room", "author", "excerpt", "kind", "created_at", "deleted_at")
    list_filter = ("kind", "format", DeletedFilter, RoomKindFilter)
    list_select_related = ("room", "author")
    search_fields = ("text", "author__display_name", "author__email", "room__name")
    ordering = ("-pk",)
    show_full_result_count = False  # counting a large table twice would double the page's time
    exclude = ("html",)
    actions = ("delete_text",)

    @admin.display(description="text")
    def excerpt(self, message: Message) -> str:
        return Truncator(message.text).chars(EXCERPT)

    @admin.action(description="Delete (leaves a tombstone)", permissions=["steer"])
    def delete_text(self, request: HttpRequest, queryset: QuerySet[Message]) -> TemplateResponse | None:
        """Asks first: the text can't be brought back."""
        if request.POST.get("confirmed"):
            rows = queryset.order_by("pk")
            self.carry_out(request, rows, lambda row: services.delete_message(request.user, row), "Deleted")  # type: ignore[arg-type]
            return None
        if queryset.count() > DELETED_AT_ONCE:
            self.message_user(request, f"Choose at most {DELETED_AT_ONCE} messages at once.", messages.ERROR)
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": "Delete these messages?",
            "opts": self.opts,
            "chosen": queryset.select_related("author"),
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/realtime/message/delete_text.html", context)


@admin.register(Export)
class ExportAdmin(ReadOnlyAdmin):
    """Who has asked for the messages of which room, and what disk that takes. Only they get the files."""

    list_display = ("person", "room", "asked_at", "made_at", "messages", "bytes", "expires_at")
    list_select_related = ("membership__user", "membership__room")
    search_fields = ("membership__user__display_name", "membership__user__email", "membership__room__name")
    ordering = ("-size",)
    exclude = ("file",)
    actions = ("remove",)

    @admin.display(ordering="membership__user__display_name")
    def person(self, export: Export) -> str:
        return str(export.membership.user)

    @admin.display(ordering="membership__room__name")
    def room(self, export: Export) -> str:
        return str(export.membership.room)

    @admin.display(ordering="size", description="size")
    def bytes(self, export: Export) -> str:
        return filesizeformat(export.size)

    @admin.action(description="Remove, with the files", permissions=["steer"])
    def remove(self, request: HttpRequest, queryset: QuerySet[Export]) -> None:
        chosen = [export.pk for export in queryset]
        with transaction.atomic():
            self.log_deletions(request, queryset)
            count = exports.remove_exports(Export.objects.filter(pk__in=chosen))
        self.message_user(request, f"Removed: {count}.")
