"""The policies of a new installation. They are rows like any other: change, switch off or delete them in the admin."""

from django.db import migrations

from ratelimit.migrations._defaults import POLICIES


def add(apps, schema_editor):
    policies = apps.get_model("ratelimit", "Policy").objects
    for policy in POLICIES:
        policies.get_or_create(name=policy["name"], defaults={"mode": "enforce", **policy})


class Migration(migrations.Migration):
    dependencies = [("ratelimit", "0001_policies")]

    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
