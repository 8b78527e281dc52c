"""The audit log in the admin: to search and to read."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from intellicolab.events.groups import groups
from realtime.admin import ReadOnlyAdmin

from .handlers import GROUP
from .models import AuditEntry


class EventFilter(admin.SimpleListFilter):
    """Of what the group takes: asking the table which names are in it would read all of it."""

    title = "event"
    parameter_name = "event"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        taken = {name for group in groups() if group.name == GROUP for name, _version in group.handlers}
        return [(name, name) for name in sorted(taken)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        return queryset.filter(event=self.value()) if self.value() else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """What the log is for is lost if entries can be changed: nobody can, superusers included."""

    list_display = ("sentence", "at", "actor_name", "event")
    list_filter = (EventFilter,)
    date_hierarchy = "at"
    search_fields = ("sentence", "actor_name", "actor__email", "subject")
    show_full_result_count = False  # counting a large table twice would double the page's time
    fields = ("sentence", "at", "actor", "actor_name", "event", "subject", "person_id", "room_id", "event_id")
