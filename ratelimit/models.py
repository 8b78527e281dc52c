"""What administrators decide: the policies, and who is let through or kept out whatever they say."""

from ipaddress import ip_network
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from . import identity, matching, rates, validation
from .address import parse
from .rules import Algorithm, Rule

LEASE_SECONDS = 60  # of what is held at the same time: a process that dies gives it back within this time
RENEW_SECONDS = 20.0  # so that a lease outlives two renewals that failed

# Names go into headers as they are (RFC 9651, section 3.3.3).
_name = RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z", "Use letters, digits, dots, - and _, a letter or digit first.")


class Policy(models.Model):
    """One limit, and to whom and what it applies. All policies that apply to a request must admit it."""

    class Subject(models.TextChoices):
        """What is counted."""

        REQUEST = matching.REQUEST, "HTTP requests"
        CONNECT = matching.CONNECT, "Openings of a socket"
        FRAME = matching.FRAME, "Frames that a socket sends"
        NAMED = matching.NAMED, "What the code asks for by this policy's name"

    class Tier(models.TextChoices):
        EVERYONE = "everyone", "Everyone"
        ANONYMOUS = "anonymous", "Visitors who are not signed in"
        AUTHENTICATED = "authenticated", "People who are signed in, but for administrators"
        STAFF = "staff", "Administrators"
        GROUP = "group", "Members of a group"

    class Identity(models.TextChoices):
        """Whom it counts against."""

        USER_OR_ADDRESS = identity.USER_OR_ADDRESS, "Person, or else client address"
        ADDRESS = identity.ADDRESS, "Client address"
        USER = identity.USER, "Person"
        API_KEY = identity.API_KEY, "API key"
        SESSION = identity.SESSION, "Session"
        GIVEN = identity.GIVEN, "What the code names, such as the account at a sign-in"

    class Mode(models.TextChoices):
        ENFORCE = "enforce", "Enforce"
        SHADOW = "shadow", "Shadow: count, and refuse nobody"
        OFF = "off", "Off"

    class WithoutRedis(models.TextChoices):
        OPEN = "open", "Let through"
        CLOSED = "closed", "Refuse"

    name = models.CharField(
        max_length=64, unique=True, validators=[_name],
        help_text="Told to whoever is refused, in headers and answers. Letters, digits, dots, - and _.",
    )  # fmt: skip
    order = models.PositiveIntegerField(default=100, help_text="Policies are told in this order, the lowest first.")
    mode = models.CharField(max_length=16, choices=Mode, default=Mode.SHADOW)
    subject = models.CharField("counts", max_length=16, choices=Subject, default=Subject.REQUEST)
    path = models.CharField(
        max_length=200, blank=True,
        help_text="Only paths of this pattern: * stands for anything between two slashes, ** for anything at all. "
        "Several are parted by spaces, such as: /accounts/** /api/*/search",
    )  # fmt: skip
    route = models.CharField(
        "route names", max_length=200, blank=True, help_text="Only these, parted by spaces, such as: account_login"
    )
    methods = models.CharField(max_length=100, blank=True, help_text="Only these, parted by spaces, such as: POST PUT")
    frames = models.CharField(
        "frame types", max_length=200, blank=True,
        help_text="Only these frames, parted by spaces, such as: message.send typing. The word unknown stands for all "
        "that the socket does not understand.",
    )  # fmt: skip
    tier = models.CharField("for", max_length=16, choices=Tier, default=Tier.EVERYONE)
    group = models.ForeignKey(Group, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    identity = models.CharField(
        "counted for each", max_length=20, choices=Identity, default=Identity.USER_OR_ADDRESS,
        help_text="Keys and sessions count as they are sent, and whoever sends none is not counted: add a policy for "
        "addresses.",
    )  # fmt: skip
    algorithm = models.PositiveSmallIntegerField(
        choices=[(algorithm.value, algorithm.label) for algorithm in Algorithm],
        default=Algorithm.SLIDING_WINDOW.value,
    )
    limit = models.CharField(max_length=40, help_text="Such as 100/min, 5/s, 1000/15 min; of concurrent ones just 20.")
    burst = models.PositiveIntegerField(
        null=True, blank=True,
        help_text="How many at once: the size of a token bucket (without it, the limit), or of GCRA (without it, 1).",
    )  # fmt: skip
    cost = models.PositiveIntegerField(default=1, help_text="What each counts as.")
    without_redis = models.CharField(
        "when Redis does not answer", max_length=8, choices=WithoutRedis, default=WithoutRedis.OPEN
    )
    note = models.TextField(blank=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["order", "name"]
        verbose_name_plural = "policies"

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Raises ValidationError with all that is wrong, a sentence a field."""
        validation.check(self)

    @property
    def rule(self) -> Rule:
        """Raises ValueError when the numbers make none."""
        algorithm, name, shadow = Algorithm(self.algorithm), str(self.pk or "new"), self.mode == self.Mode.SHADOW
        if algorithm is Algorithm.CONCURRENCY:
            return Rule(name, rates.parse_count(self.limit), LEASE_SECONDS * 1000, algorithm, shadow=shadow)
        rate = rates.parse(self.limit)
        return Rule(name, rate.limit, rate.seconds * 1000, algorithm, self.burst or 0, shadow)

    @property
    def matcher(self) -> matching.Matcher:
        name = self.name if self.subject == self.Subject.NAMED else ""
        return matching.Matcher.of(self.path, self.route, self.methods, self.frames, name)


class Exemption(models.Model):
    """A network or a person that no policy concerns, or that is kept out whatever the policies say."""

    class Treatment(models.TextChoices):
        ALLOW = "allow", "Allow: no limit applies"
        DENY = "deny", "Deny: keep out"

    treatment = models.CharField(max_length=8, choices=Treatment)
    network = models.CharField(
        max_length=49,
        blank=True,
        help_text="An address or a network, such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32.",
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name="person",
    )
    ends_at = models.DateTimeField("until", null=True, blank=True, help_text="Empty: for ever.")
    note = models.CharField(max_length=200, blank=True, help_text="Why, and who asked for it.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(network="", user__isnull=False) | Q(~Q(network=""), user__isnull=True),
                name="exemption_names_one",
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_treatment_display().partition(':')[0]} {self.network or self.user}"

    def clean_fields(self, exclude: Any = None) -> None:
        """Brings the network to its one spelling. Raises ValidationError."""
        super().clean_fields(exclude)
        if self.network:
            self.network = validation.network(self.network, denied=self.treatment == self.Treatment.DENY)

    def clean(self) -> None:
        validation.names_one(self.network, self.user_id)

    @property
    def ends(self) -> float | None:
        """Unix time; None for ever."""
        return None if self.ends_at is None else self.ends_at.timestamp()

    def concerns(self, address: str, user_id: int | None) -> bool:
        """Whether it is about that person, or about who comes from that address."""
        if self.user_id is not None:
            return self.user_id == user_id
        found = parse(address)
        return found is not None and found in ip_network(self.network)
