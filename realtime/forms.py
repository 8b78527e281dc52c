"""What people type into the pages of chat. Whether it is allowed is for the services to say."""

from typing import Any
from uuid import uuid4

from django import forms
from django.db.models import QuerySet

from accounts.models import User

from .models import Room


def _topic_field() -> forms.CharField:
    hint = "One line below the name. It can be changed later."
    return forms.CharField(label="Topic (optional)", max_length=250, required=False, help_text=hint)


class RoomForm(forms.Form):
    """A new room."""

    name = forms.CharField(max_length=80, widget=forms.TextInput(attrs={"autofocus": True, "autocomplete": "off"}))
    topic = _topic_field()
    kind = forms.ChoiceField(
        label="Who can join",
        choices=[choice for choice in Room.Kind.choices if choice[0] != Room.Kind.DIRECT],
        initial=Room.Kind.OPEN,
        widget=forms.RadioSelect,
    )


class RoomSettingsForm(forms.Form):
    name = forms.CharField(max_length=80, widget=forms.TextInput(attrs={"autocomplete": "off"}))
    topic = _topic_field()


class AddMemberForm(forms.Form):
    def __init__(self, *args: Any, people: QuerySet[User], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["user"] = forms.ModelChoiceField(people, label="Person", empty_label="Choose a person")


class MessageForm(forms.Form):
    """A message sent without JavaScript. Its id is made with the page, so sending twice stores it once."""

    id = forms.CharField(max_length=64, widget=forms.HiddenInput, initial=lambda: str(uuid4()))
    text = forms.CharField(strip=False, widget=forms.Textarea(attrs={"rows": 1}))
