"""Policies and exemptions in the admin, and what a policy would have done with the last hour."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet, TextField
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from redis.exceptions import RedisError

from . import services
from .models import Exemption, Policy
from .preview import preview


@admin.register(Policy)
class PolicyAdmin(admin.ModelAdmin):
    """A change holds in every process within a second."""

    change_form_template = "admin/ratelimit/policy/change_form.html"
    list_display = ("name", "mode", "subject", "tier", "identity", "limit", "algorithm", "without_redis", "order")
    list_filter = ("mode", "subject", "tier", "algorithm")
    list_select_related = ("group",)
    search_fields = ("name", "path", "route", "frames", "note")
    actions = ("enforce", "shadow", "switch_off")
    fieldsets = (
        (None, {"fields": ("name", "mode", "order")}),
        ("What it counts", {"fields": ("subject", "path", "route", "methods", "frames")}),
        ("Whom it is for", {"fields": ("tier", "group", "identity")}),
        ("How much it admits", {"fields": ("algorithm", "limit", "burst", "cost", "without_redis")}),
        ("For other administrators", {"fields": ("note",)}),
    )
    formfield_overrides: ClassVar = {TextField: {"widget": forms.Textarea(attrs={"rows": 3})}}

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.preview_view)
        return [
            path("add/preview/", view, name="ratelimit_policy_add_preview"),
            path("<int:policy_id>/change/preview/", view, name="ratelimit_policy_preview"),
            *super().get_urls(),
        ]

    def preview_view(self, request: HttpRequest, policy_id: int | None = None) -> HttpResponse:
        """The form as it was sent is tried, and not saved."""
        row = self.get_object(request, str(policy_id)) if policy_id is not None else None
        allowed = self.has_add_permission(request) if row is None else self.has_change_permission(request, row)
        if not allowed:
            raise PermissionDenied
        form = self.get_form(request, row, change=row is not None)(request.POST or None, instance=row)
        context = {
            **self.admin_site.each_context(request),
            "title": "The last hour with this policy",
            "opts": self.opts,
            "policy": form.instance,
            "form": form,
            **_previewed(form),
        }
        return TemplateResponse(request, "admin/ratelimit/policy/preview.html", context)

    @admin.action(description="Enforce", permissions=["change"])
    def enforce(self, request: HttpRequest, queryset: QuerySet[Policy]) -> None:
        self._set_mode(request, queryset, Policy.Mode.ENFORCE)

    @admin.action(description="Shadow: count, and refuse nobody", permissions=["change"])
    def shadow(self, request: HttpRequest, queryset: QuerySet[Policy]) -> None:
        self._set_mode(request, queryset, Policy.Mode.SHADOW)

    @admin.action(description="Switch off", permissions=["change"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[Policy]) -> None:
        self._set_mode(request, queryset, Policy.Mode.OFF)

    def _set_mode(self, request: HttpRequest, queryset: QuerySet[Policy], mode: Policy.Mode) -> None:
        for row in queryset:
            self.log_change(request, row, f"Mode: {mode.label}.")
        count = services.set_mode(queryset, mode)
        self.message_user(request, f"{count} {'policy' if count == 1 else 'policies'}: {mode.label}.")


def _previewed(form: forms.BaseForm) -> dict[str, Any]:
    """What the page shows: a preview, or why there is none."""
    if not form.is_valid():
        return {"missing": "The form has errors: correct what it says first."}
    try:
        made = preview(form.instance)  # type: ignore[attr-defined]
    except ValueError as error:
        return {"missing": str(error)}
    except (RedisError, OSError):
        return {"missing": "The last hour's traffic is kept in Redis, which does not answer just now."}
    return {"preview": made, "places": made.refused.most_common(10)}


@admin.register(Exemption)
class ExemptionAdmin(admin.ModelAdmin):
    list_display = ("__str__", "treatment", "ends_at", "note", "created_at")
    list_filter = ("treatment",)
    list_select_related = ("user",)
    search_fields = ("network", "user__display_name", "user__email", "note")
    autocomplete_fields = ("user",)

    def get_form(self, request: HttpRequest, obj: Model | None = None, change: bool = False, **kwargs: Any) -> Any:
        made = super().get_form(request, obj, change, **kwargs)

        class ForOthers(made):  # type: ignore[misc, valid-type]
            """Nobody shuts themselves out by mistake: who would let them in again?"""

            def _post_clean(self) -> None:
                super()._post_clean()
                if not self.errors and _shuts_out(self.instance, request):
                    self.add_error(None, "This would shut out yourself. Leave out your own address and account.")

        return ForOthers


def _shuts_out(exemption: Exemption, request: HttpRequest) -> bool:
    denies = exemption.treatment == Exemption.Treatment.DENY
    return denies and exemption.concerns(request.META.get("REMOTE_ADDR", ""), request.user.pk)
