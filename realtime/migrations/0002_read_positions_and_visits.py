from django.db import migrations, models


def begin_at_the_end(apps, schema_editor):
    """Who is in a room today has read it: nobody finds years of messages marked as new."""
    Room, Membership = apps.get_model("realtime", "Room"), apps.get_model("realtime", "Membership")
    newest = Room.objects.filter(pk=models.OuterRef("room")).values("last_number")
    Membership.objects.update(last_read_number=models.Subquery(newest))


class Migration(migrations.Migration):
    dependencies = [
        ("realtime", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="membership",
            name="last_read_number",
            field=models.PositiveBigIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="room",
            name="visits",
            field=models.PositiveBigIntegerField(default=0, editable=False),
        ),
        migrations.RunPython(begin_at_the_end, migrations.RunPython.noop, elidable=True),
    ]
