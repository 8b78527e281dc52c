"""Rooms, who is in them, and what was said. Invariants live here; every write goes through `services`.

A foreign key that a constraint begins with has no index of its own: the constraint's serves, and each costs a write.
"""

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

if TYPE_CHECKING:
    from accounts.models import User


class RoomQuerySet(models.QuerySet["Room"]):
    def current(self) -> "RoomQuerySet":
        return self.filter(archived_at=None)

    def of(self, user: "User | int") -> "RoomQuerySet":
        """The rooms that a person is a member of."""
        return self.filter(memberships__user=user)

    def directory(self) -> "RoomQuerySet":
        """The rooms that anyone may find and join."""
        return self.current().filter(kind=Room.Kind.OPEN)


class Room(models.Model):
    """A place to talk. `last_number` counts its messages without gaps, `last_version` every change to them."""

    class Kind(models.TextChoices):
        OPEN = "open", "Open: anyone may find and join it"
        PRIVATE = "private", "Private: members are added"
        DIRECT = "direct", "Direct: between two people"

    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.OPEN)
    name = models.CharField(max_length=80, blank=True)
    topic = models.CharField(max_length=250, blank=True)
    # "3:7" for the direct room of users 3 and 7, so that two people who open it at once share one.
    direct_key = models.CharField(max_length=48, unique=True, null=True, blank=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    archived_at = models.DateTimeField(null=True, blank=True)
    last_number = models.PositiveBigIntegerField(default=0, editable=False)
    last_version = models.PositiveBigIntegerField(default=0, editable=False)
    # The versions at which name, topic or archiving, and at which who is in it, changed last.
    settings_version = models.PositiveBigIntegerField(default=0, editable=False)
    members_version = models.PositiveBigIntegerField(default=0, editable=False)
    # How many are in it, as of `members_version`.
    people = models.PositiveIntegerField(default=0, editable=False)
    # How often one of its members opened its page; written behind.
    visits = models.PositiveBigIntegerField(default=0, editable=False)

    objects = RoomQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Lower("name"), condition=models.Q(kind="open", archived_at=None), name="open_room_name"
            ),
            models.CheckConstraint(
                condition=models.Q(kind="direct", direct_key__isnull=False)
                | (~models.Q(kind="direct") & ~models.Q(name="")),
                name="room_is_named_or_direct",
            ),
        ]

    def __str__(self) -> str:
        return self.name or f"Direct room {self.direct_key}"

    @property
    def is_archived(self) -> bool:
        return self.archived_at is not None


class Membership(models.Model):
    """That a person is in a room: the only authority for reading and writing there."""

    class Role(models.TextChoices):
        OWNER = "owner", "Owner"
        MEMBER = "member", "Member"

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="memberships", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=8, choices=Role.choices, default=Role.MEMBER)
    joined_at = models.DateTimeField(default=timezone.now)
    # The room's version when the person came, or got another role.
    version = models.PositiveBigIntegerField(default=0, editable=False)
    # Up to which message the person has read. Within an epoch it only goes up; who marks something unread begins a new
    # one. Written behind, and at once by what they write.
    last_read_number = models.PositiveBigIntegerField(default=0, editable=False)
    read_epoch = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["room", "user"], name="one_membership")]
        indexes = [models.Index(fields=["room", "version"], name="membership_version")]

    def __str__(self) -> str:
        return f"{self.user} in {self.room}"


class Departure(models.Model):
    """That a person is in a room no more: the tombstone of a membership, so that clients learn of it who were away."""

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="departures", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    version = models.PositiveBigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["room", "user"], name="one_departure")]
        indexes = [models.Index(fields=["room", "version"], name="departure_version")]

    def __str__(self) -> str:
        return f"{self.user} has left {self.room}"


class Message(models.Model):
    """One message. `number` is its place in the room, `version` the room's count at its last change.

    `html` is rendered and sanitised once, when it is written. A deleted message stays as a tombstone without text, so
    that numbers keep no gaps and clients learn of the deletion.
    """

    class Format(models.TextChoices):
        MARKDOWN = "markdown", "Markdown"
        PLAIN = "plain", "Plain text"

    class Kind(models.TextChoices):
        TEXT = "text", "Message"
        ACTION = "action", "Action"

    room = models.ForeignKey(Room, on_delete=models.CASCADE, related_name="messages", db_index=False)
    number = models.PositiveBigIntegerField()
    version = models.PositiveBigIntegerField()
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="messages", db_index=False
    )
    # Chosen by the sender: the same one sent again is the same message.
    client_id = models.CharField(max_length=64)
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.TEXT)
    format = models.CharField(max_length=8, choices=Format.choices, default=Format.MARKDOWN)
    text = models.TextField(blank=True)
    html = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    edited_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["room", "number"], name="message_number"),
            models.UniqueConstraint(fields=["author", "client_id"], name="message_client_id"),
        ]
        indexes = [models.Index(fields=["room", "version"], name="message_version")]

    def __str__(self) -> str:
        return f"#{self.number} in {self.room_id}"

    @property
    def is_deleted(self) -> bool:
        return self.deleted_at is not None


class Mention(models.Model):
    """That a message names a member of its room; those above the position of the member are unread mentions."""

    membership = models.ForeignKey(Membership, on_delete=models.CASCADE, related_name="mentions", db_index=False)
    number = models.PositiveBigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["membership", "number"], name="one_mention")]

    def __str__(self) -> str:
        return f"{self.membership} in #{self.number}"


class ExportQuerySet(models.QuerySet["Export"]):
    def of(self, user: "User | int", room_id: int) -> "ExportQuerySet":
        return self.filter(membership__user=user, membership__room=room_id)

    def wanted(self) -> "ExportQuerySet":
        """Those that nobody has cancelled, of people who may have them."""
        return self.filter(cancelled_at=None, membership__user__is_active=True)


class Export(models.Model):
    """The messages of a room as a file for one of its members: at most one each, which another one replaces.

    It belongs to the membership, so whoever is in the room no more has none. How far it is, its job tells; the row
    knows what was asked for and what came of it. Its file goes after the row, see `receivers`.
    """

    membership = models.OneToOneField(Membership, on_delete=models.CASCADE, related_name="export")
    job_id = models.CharField(max_length=32, unique=True)
    asked_at = models.DateTimeField(default=timezone.now)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    # From here on what the job notes when it is done: a name below EXPORTS_DIR, bytes, how many messages are in it.
    file = models.CharField(max_length=64, blank=True)
    size = models.PositiveBigIntegerField(default=0)
    messages = models.PositiveBigIntegerField(default=0)
    made_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = ExportQuerySet.as_manager()

    def __str__(self) -> str:
        return f"Export for {self.membership}"

    @property
    def is_over(self) -> bool:
        """Made, and past its time. The row and the file stay until the night, or for as long as no worker runs."""
        return self.expires_at is not None and self.expires_at <= timezone.now()
