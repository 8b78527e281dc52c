import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="DeadLetter",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("group", models.CharField(max_length=64)),
                ("stream", models.CharField(max_length=64)),
                ("position", models.PositiveBigIntegerField()),
                ("name", models.CharField(max_length=64)),
                ("version", models.PositiveSmallIntegerField()),
                ("data", models.TextField()),
                ("reason", models.TextField()),
                ("tries", models.PositiveIntegerField()),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("group", "stream", "position"), name="dead_once")],
            },
        ),
        migrations.CreateModel(
            name="HandledEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("group", models.CharField(max_length=64)),
                ("event_id", models.CharField(max_length=32)),
                ("done", models.BooleanField(default=True)),
                ("at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("group", "event_id"), name="handled_once")],
            },
        ),
        migrations.CreateModel(
            name="OutboxRow",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("stream", models.CharField(max_length=64)),
                ("position", models.PositiveBigIntegerField(null=True)),
                ("numbered_at", models.DateTimeField(null=True)),
                ("name", models.CharField(max_length=64)),
                ("version", models.PositiveSmallIntegerField()),
                ("data", models.TextField()),
                ("made_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "indexes": [models.Index(condition=models.Q(("position", None)), fields=["id"], name="outbox_waiting")],
                "constraints": [models.UniqueConstraint(fields=("stream", "position"), name="outbox_position")],
            },
        ),
    ]
