"""Time zones: where a new account starts, and what the forms offer."""

import pytest
from django.test import Client

from accounts.forms import ProfileForm, ZoneField
from accounts.models import User
from accounts.own_settings import settings_in
from accounts.zones import zone_choices

pytestmark = pytest.mark.django_db


def offered(field):
    """Every value of a select, those in groups too."""
    return [name for value, label in field.choices for name in ([value] if isinstance(label, str) else dict(label))]


def test_a_new_account_starts_in_the_zone_of_the_installation(settings, fast_passwords):
    settings.TIME_ZONE = "Europe/Berlin"
    assert User.objects.create_user("alice@example.org").time_zone == "Europe/Berlin"


def test_the_forms_of_new_accounts_start_with_it_too(settings):
    settings.TIME_ZONE = "Europe/Berlin"
    page = Client().get("/setup/").content.decode()
    assert '<option value="Europe/Berlin" selected>' in page


def test_an_older_name_is_offered_where_it_is_in_use(settings, make_user):
    settings.TIME_ZONE = "US/Central"
    assert offered(ZoneField())[:2] == ["US/Central", "UTC"]
    profile = ProfileForm(settings_in(make_user("alice", time_zone="US/Eastern")))
    assert offered(profile.fields["time_zone"])[:2] == ["US/Eastern", "UTC"]


def test_a_listed_zone_is_offered_once():
    assert zone_choices("Europe/Berlin") == zone_choices()
    assert len(offered(ZoneField())) == len(set(offered(ZoneField())))
