"""What people fill in about accounts. Forms check; `services.py` writes."""

import secrets
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError

from . import avatars
from .models import User
from .names import clean_name
from .own_settings import OwnSettings
from .zones import default_time_zone, validate_time_zone, zone_choices


class NameField(forms.CharField):
    """A display name, as `names.clean_name` makes it."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("label", "Name")
        kwargs.setdefault("max_length", User._meta.get_field("display_name").max_length)
        kwargs.setdefault("widget", forms.TextInput(attrs={"autocomplete": "name"}))
        super().__init__(**kwargs)

    def clean(self, value: Any) -> str:
        return clean_name(super().clean(value))


class ZoneField(forms.ChoiceField):
    """A time zone. Starts with TIME_ZONE; where the operator left that at UTC, JavaScript offers the browser's own."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("label", "Time zone")
        kwargs.setdefault("initial", default_time_zone)
        kwargs.setdefault("widget", forms.Select(attrs={"data-browser-zone": True}))
        super().__init__(choices=lambda: zone_choices(default_time_zone()), **kwargs)

    def valid_value(self, value: str) -> bool:
        """Also the older names that a browser may know its zone by."""
        try:
            validate_time_zone(value)
        except ValidationError:
            return False
        return True


class SetupForm(forms.Form):
    """The first visit: who administers the installation. With SETUP_CODE set, only who read the server's terminal."""

    code = forms.CharField(
        label="Set-up code",
        help_text="The server printed it when it started: this site can be reached from other machines.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}),
    )
    display_name = NameField(label="Your name")
    email = forms.EmailField(label="Email", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email"}))
    password = forms.CharField(
        label="Password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=password_validation.password_validators_help_text_html,
    )
    time_zone = ZoneField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not settings.SETUP_CODE:
            del self.fields["code"]

    def clean_code(self) -> str:
        code = self.cleaned_data["code"].strip()
        # In constant time: how long the answer takes must not tell how much of a guess was right.
        if not secrets.compare_digest(code.encode(), settings.SETUP_CODE.encode()):
            raise ValidationError("This is not the code. Look for it where the server was started.")
        return code

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if "password" in data:
            person = User(email=data.get("email", ""), display_name=data.get("display_name", ""))
            try:
                password_validation.validate_password(data["password"], person)
            except ValidationError as error:
                self.add_error("password", error)
        return data

    def values(self) -> dict[str, str]:
        """The keyword arguments of `services.set_up`."""
        return {name: self.cleaned_data[name] for name in ("email", "display_name", "password", "time_zone")}


class ProfileForm(forms.Form):
    """One's own profile. `picture` becomes the bytes to store."""

    display_name = NameField()
    bio = forms.CharField(
        label="About you",
        required=False,
        max_length=User._meta.get_field("bio").max_length,
        widget=forms.Textarea(attrs={"rows": 4}),
    )
    time_zone = ZoneField(widget=forms.Select())
    picture = forms.FileField(
        required=False,
        help_text="JPEG, PNG, WebP or GIF. It is cropped to a square.",
        widget=forms.FileInput(attrs={"accept": "image/jpeg,image/png,image/webp,image/gif"}),
    )
    remove_picture = forms.BooleanField(label="Remove my picture", required=False)

    def __init__(self, own: OwnSettings, data: Any = None, files: Any = None) -> None:
        initial = {name: getattr(own, name) for name in ("display_name", "bio", "time_zone")}
        super().__init__(data, files, initial=initial)
        self.fields["time_zone"].choices = zone_choices(own.time_zone)  # type: ignore[attr-defined]
        if not own.avatar:
            del self.fields["remove_picture"]

    def clean_picture(self) -> bytes | None:
        upload = self.cleaned_data["picture"]
        return avatars.clean_picture(upload) if upload else None


class InvitationForm(forms.Form):
    """How many people a link admits."""

    max_uses = forms.IntegerField(
        label="How many people may use it",
        initial=1,
        min_value=1,
        max_value=1000,
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )
