import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_index=True, verbose_name="when")),
                ("event", models.CharField(max_length=64)),
                ("event_id", models.CharField(max_length=32, unique=True)),
                ("actor_name", models.CharField(blank=True, max_length=80, verbose_name="who did it")),
                ("subject", models.CharField(max_length=255, verbose_name="about")),
                ("person_id", models.PositiveBigIntegerField(blank=True, null=True)),
                ("room_id", models.PositiveBigIntegerField(blank=True, null=True)),
                ("sentence", models.TextField(verbose_name="what happened")),
                (
                    "actor",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="person",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "audit entries",
                "ordering": ["-at", "-pk"],
                "indexes": [models.Index(fields=["event", "at"], name="audit_event")],
            },
        ),
    ]
