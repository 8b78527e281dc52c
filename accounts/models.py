"""Who people are: their account, the invitations they send, and the fact that the installation was set up."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models, transaction
from django.db.models.functions import Lower
from django.utils import timezone

from .zones import default_time_zone, validate_time_zone


class UserQuerySet(models.QuerySet["User"]):
    def people(self) -> "UserQuerySet":
        """Who could sign in, now or when reactivated: everyone but the authors of imported messages."""
        return self.filter(is_placeholder=False)


class UserManager(BaseUserManager["User"].from_queryset(UserQuerySet)):  # type: ignore[misc]
    def build_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """A person not yet saved. Hashing takes its time by design: do it before a transaction, not inside one.

        Without a password nobody can sign in as them. Raises ValueError without an email.
        """
        if not email:
            raise ValueError("An account needs an email address: it is what people sign in with.")
        user: User = self.model(email=email.strip().lower(), password=make_password(password), **fields)
        user.display_name = user.display_name or email.partition("@")[0]
        return user

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """As `build_user`, and saved."""
        user = self.build_user(email, password, **fields)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=(username or "").lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person. A placeholder wrote imported messages and can never sign in."""

    email = models.EmailField("email address", unique=True)
    display_name = models.CharField("name", max_length=80)
    time_zone = models.CharField(max_length=64, default=default_time_zone, validators=[validate_time_zone])
    bio = models.TextField(max_length=500, blank=True)
    avatar = models.ImageField(upload_to="avatars/", blank=True)
    is_active = models.BooleanField(default=True, help_text="Clear this instead of deleting an account.")
    is_staff = models.BooleanField("administrator", default=False, help_text="May open the admin.")
    is_placeholder = models.BooleanField(default=False, help_text="Wrote imported messages; cannot sign in.")
    date_joined = models.DateTimeField(default=timezone.now)
    # Written behind, a minute late at most; the stamp keeps a late write from undoing a newer.
    last_seen = models.DateTimeField(null=True, blank=True, editable=False)
    last_seen_stamp = models.PositiveBigIntegerField(default=0, editable=False)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["display_name"]

    objects = UserManager()

    # What is written to the row behind its readers' backs.
    WRITTEN_BEHIND: ClassVar[frozenset[str]] = frozenset({"last_seen", "last_seen_stamp"})

    # Set by receivers.py while a save is under way: this one replaces the password that sessions were made with,
    # and changes these fields of the row.
    replaces_password = False
    changed_fields: tuple[str, ...] = ()
    # Set by who saves or deletes somebody else: it goes into the fact about that, and no other.
    saved_by_id: int | None = None

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="user_email_any_case",
                violation_error_message="There is already an account with this email address.",
            )
        ]

    def __str__(self) -> str:
        return self.display_name

    def save(self, *, update_fields: Iterable[str] | None = None, force_insert: Any = False, **kwargs: Any) -> None:
        """Of a stored row all but what is written behind: a form would take back what was flushed while it was filled.

        Raises DatabaseError where the row is gone.
        """
        self.email = self.email.lower()
        if update_fields is None and not force_insert and not self._state.adding and self.pk is not None:
            update_fields = self._loaded_fields() - self.WRITTEN_BEHIND
        with transaction.atomic(savepoint=False):  # the facts that receivers write are part of it
            super().save(update_fields=update_fields, force_insert=force_insert, **kwargs)

    def _loaded_fields(self) -> set[str]:
        stored = {field.attname for field in self._meta.concrete_fields if not field.primary_key}
        return stored - self.get_deferred_fields()

    def get_full_name(self) -> str:
        return self.display_name

    def get_short_name(self) -> str:
        return self.display_name


class Installation(models.Model):
    """One row, made by the set-up page; its primary key lets only the first of two submissions through."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    administrator = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_installation")]

    def __str__(self) -> str:
        return f"Set up by {self.administrator} on {self.created_at:%Y-%m-%d}"


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def usable(self, now: datetime | None = None) -> "InvitationQuerySet":
        return self.filter(expires_at__gt=now or timezone.now(), revoked_at=None, uses__lt=models.F("max_uses"))

    def by_token(self, token: str) -> "InvitationQuerySet":
        return self.filter(token_hash=hash_token(token))


class Invitation(models.Model):
    """A link that lets people sign up. Only the token's hash is kept: who reads the database cannot use it."""

    LIFETIME = timedelta(days=7)

    token_hash = models.CharField(max_length=64, unique=True)
    created_by = models.ForeignKey(User, on_delete=models.CASCADE, related_name="invitations")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    max_uses = models.PositiveIntegerField(default=1)
    uses = models.PositiveIntegerField(default=0)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"Invitation by {self.created_by}, {self.uses} of {self.max_uses} used"

    @property
    def is_usable(self) -> bool:
        return self.revoked_at is None and self.uses < self.max_uses and self.expires_at > timezone.now()

    @classmethod
    def issue(cls, created_by: User, max_uses: int = 1) -> tuple["Invitation", str]:
        """A new invitation and its token, which is not stored and can't be shown again."""
        token = secrets.token_urlsafe(24)
        invitation = cls.objects.create(
            token_hash=hash_token(token),
            created_by=created_by,
            max_uses=max_uses,
            expires_at=timezone.now() + cls.LIFETIME,
        )
        return invitation, token


class Welcome(models.Model):
    """That a person has their welcome email, or that it is being sent: one a person, whichever facts call for it."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="+")
    # The fact that it is sent for. The email's id is made of it, so that a further try sends the same email.
    event_id = models.CharField(max_length=32)
    at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"Welcome of {self.user}"


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
