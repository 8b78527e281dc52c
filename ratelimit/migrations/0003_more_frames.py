"""Policies for the frames that came later, in installations that have those of 0002 already."""

from django.db import migrations

from ratelimit.migrations._defaults import POLICIES

NEW = ("message.change", "presence")
BEFORE, NOW = "room.join room.resume room.read", "room.join room.resume room.read room.unread"


def add(apps, schema_editor):
    policies = apps.get_model("ratelimit", "Policy").objects
    for policy in POLICIES:
        if policy["name"] in NEW:
            policies.get_or_create(name=policy["name"], defaults={"mode": "enforce", **policy})
    policies.filter(name="room-reads", frames=BEFORE).update(frames=NOW)


class Migration(migrations.Migration):
    dependencies = [("ratelimit", "0002_defaults")]

    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
