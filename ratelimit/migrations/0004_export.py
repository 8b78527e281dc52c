"""The policy for exports, in installations that have the earlier ones already."""

from django.db import migrations

from ratelimit.migrations._defaults import POLICIES

NEW = "export"


def add(apps, schema_editor):
    policies = apps.get_model("ratelimit", "Policy").objects
    for policy in POLICIES:
        if policy["name"] == NEW:
            policies.get_or_create(name=NEW, defaults={"mode": "enforce", **policy})


class Migration(migrations.Migration):
    dependencies = [("ratelimit", "0003_more_frames")]

    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
