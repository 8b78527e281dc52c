"""People and invitations in the admin. What it changes goes through `services.py`, like everything else."""

from typing import Any

from allauth.account.admin import EmailAddressAdmin as AllauthEmailAddressAdmin
from allauth.account.models import EmailAddress
from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from . import devices, services
from .models import Installation, Invitation, User
from .names import clean_name


class PersonFormMixin:
    """The checks that sign-up and the profile page make, too."""

    cleaned_data: dict[str, Any]

    def clean_display_name(self) -> str:
        return clean_name(self.cleaned_data["display_name"])

    def clean_email(self) -> str:
        return self.cleaned_data["email"].lower()


class PersonAddForm(PersonFormMixin, AdminUserCreationForm):
    class Meta:
        model = User
        fields = ("email", "display_name")
        field_classes: dict[str, type[forms.Field]] = {}


class PersonChangeForm(PersonFormMixin, UserChangeForm):
    class Meta:
        model = User
        fields = "__all__"
        field_classes: dict[str, type[forms.Field]] = {}


@admin.register(User)
class UserAdmin(DjangoUserAdmin):
    add_form = PersonAddForm
    form = PersonChangeForm
    list_display = ("display_name", "email", "is_active", "is_staff", "is_placeholder", "date_joined", "last_seen")
    list_filter = ("is_active", "is_staff", "is_placeholder", "groups")
    search_fields = ("display_name", "email")
    ordering = ("display_name",)
    date_hierarchy = "date_joined"
    actions = ("deactivate", "activate", "sign_out")
    readonly_fields = ("avatar", "is_placeholder", "date_joined", "last_login", "last_seen")
    fieldsets = (
        (None, {"fields": ("email", "password", "display_name", "bio", "time_zone", "avatar")}),
        ("May", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Since", {"fields": ("is_placeholder", "date_joined", "last_login", "last_seen")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "display_name", "usable_password", "password1", "password2")}),)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Who may edit accounts without being a superuser must not be able to make themselves one."""
        fixed = tuple(super().get_readonly_fields(request, obj))
        if request.user.is_superuser:
            return fixed
        return (*fixed, "is_staff", "is_superuser", "groups", "user_permissions")

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """For the same reason, such a person must not set a superuser's password or email."""
        return super().has_change_permission(request, obj) and not _is_above(obj, request)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Who must not lock a superuser out must not delete them either."""
        return super().has_delete_permission(request, obj) and not _is_above(obj, request)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        services.delete_people([obj], by=request.user)  # type: ignore[arg-type]

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        services.delete_people(queryset, by=request.user)  # type: ignore[arg-type]

    def save_model(self, request: HttpRequest, obj: User, form: forms.ModelForm, change: bool) -> None:
        if not change:
            services.admit(obj, by=request.user)  # type: ignore[arg-type]
        else:
            services.save_changed(obj, by=request.user)  # type: ignore[arg-type]

    @admin.action(description="Deactivate: no more signing in", permissions=["change"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        people = [user for user in queryset if user != request.user and self.has_change_permission(request, user)]
        if len(people) < len(queryset):
            self.message_user(
                request, "You cannot deactivate yourself, nor who may do more than you.", messages.WARNING
            )
        self._tell(request, services.set_active(people, False, by=request.user), "deactivated")  # type: ignore[arg-type]

    @admin.action(description="Activate again", permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        people = [user for user in queryset if self.has_change_permission(request, user)]
        self._tell(request, services.set_active(people, True, by=request.user), "activated")  # type: ignore[arg-type]

    @admin.action(description="Sign out everywhere", permissions=["change"])
    def sign_out(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """The administrator's own session stays: it is the one that asks."""
        people = [user for user in queryset if self.has_change_permission(request, user)]
        own = request.session.hash  # type: ignore[attr-defined]
        count = sum(devices.end_all(user.pk, keep=own) for user in people)
        self.message_user(request, f"{count} device{' was' if count == 1 else 's were'} signed out.")

    def _tell(self, request: HttpRequest, count: int, what: str) -> None:
        self.message_user(request, f"{count} {'person was' if count == 1 else 'people were'} {what}.")


def _is_above(user: User | None, request: HttpRequest) -> bool:
    return user is not None and user.is_superuser and not request.user.is_superuser


admin.site.unregister(EmailAddress)


@admin.register(EmailAddress)
class EmailAddressAdmin(AllauthEmailAddressAdmin):
    """allauth's, where an address is confirmed by the action only: its signal becomes a fact."""

    list_select_related = ("user",)
    readonly_fields = ("verified",)

    @admin.action(description="Mark as confirmed", permissions=["change"])
    def make_verified(self, request: HttpRequest, queryset: QuerySet[EmailAddress]) -> None:
        with transaction.atomic():
            super().make_verified(request, queryset)


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("usable", "Admits people"), ("spent", "Admits nobody any more")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Invitation]) -> QuerySet[Invitation]:
        usable = Invitation.objects.usable().values("pk")
        if self.value() == "usable":
            return queryset.filter(pk__in=usable)
        if self.value() == "spent":
            return queryset.exclude(pk__in=usable)
        return queryset


@admin.register(Invitation)
class InvitationAdmin(admin.ModelAdmin):
    """To look at and to revoke. Links are made on the invitations page, the only place that can show them."""

    list_display = ("created_by", "created_at", "expires_at", "uses", "max_uses", "revoked_at", "usable")
    list_filter = (StateFilter,)
    list_select_related = ("created_by",)
    search_fields = ("created_by__display_name", "created_by__email")
    exclude = ("token_hash",)
    actions = ("revoke",)

    @admin.display(boolean=True, description="admits people")
    def usable(self, invitation: Invitation) -> bool:
        return invitation.is_usable

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Invitation | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Invitation | None = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.change_invitation")

    @admin.action(description="Revoke", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Invitation]) -> None:
        count = services.revoke_invitations(queryset)
        self.message_user(request, f"{count} invitation{'' if count == 1 else 's'} revoked.")


@admin.register(Installation)
class InstallationAdmin(admin.ModelAdmin):
    list_display = ("__str__", "created_at")
    list_select_related = ("administrator",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Installation | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Installation | None = None) -> bool:
        return False
