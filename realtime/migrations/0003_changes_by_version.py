import django.db.models.deletion
import django.db.models.functions
from django.conf import settings
from django.db import migrations, models


def count_people(apps, schema_editor):
    Room, Membership = apps.get_model("realtime", "Room"), apps.get_model("realtime", "Membership")
    inside = Membership.objects.filter(room=models.OuterRef("pk")).order_by().values("room")
    counted = inside.annotate(count=models.Count("pk")).values("count")
    Room.objects.update(people=models.functions.Coalesce(models.Subquery(counted), 0))


class Migration(migrations.Migration):
    dependencies = [
        ("realtime", "0002_read_positions_and_visits"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Departure",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("version", models.PositiveBigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="Mention",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveBigIntegerField()),
            ],
        ),
        migrations.AddField(
            model_name="membership",
            name="read_epoch",
            field=models.PositiveIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="membership",
            name="version",
            field=models.PositiveBigIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="message",
            name="edited_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="room",
            name="members_version",
            field=models.PositiveBigIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="room",
            name="people",
            field=models.PositiveIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="room",
            name="settings_version",
            field=models.PositiveBigIntegerField(default=0, editable=False),
        ),
        migrations.AddIndex(
            model_name="membership",
            index=models.Index(fields=["room", "version"], name="membership_version"),
        ),
        migrations.AddField(
            model_name="departure",
            name="room",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="departures", to="realtime.room"
            ),
        ),
        migrations.AddField(
            model_name="departure",
            name="user",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="mention",
            name="membership",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="mentions", to="realtime.membership"
            ),
        ),
        migrations.AddIndex(
            model_name="departure",
            index=models.Index(fields=["room", "version"], name="departure_version"),
        ),
        migrations.AddConstraint(
            model_name="departure",
            constraint=models.UniqueConstraint(fields=("room", "user"), name="one_departure"),
        ),
        migrations.AddConstraint(
            model_name="mention",
            constraint=models.UniqueConstraint(fields=("membership", "number"), name="one_mention"),
        ),
        migrations.RunPython(count_people, migrations.RunPython.noop, elidable=True),
    ]
