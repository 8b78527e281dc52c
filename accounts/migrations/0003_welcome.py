import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

BATCH = 1000


def note_who_is_here(apps, schema_editor):
    """Who has been here all along is not welcomed when they confirm another address."""
    Welcome, User = apps.get_model("accounts", "Welcome"), apps.get_model("accounts", "User")
    here = User.objects.filter(is_placeholder=False).values_list("pk", flat=True)
    Welcome.objects.bulk_create(
        (Welcome(user_id=user_id, event_id="") for user_id in here.iterator()), batch_size=BATCH
    )


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_last_seen"),
    ]

    operations = [
        migrations.CreateModel(
            name="Welcome",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("event_id", models.CharField(max_length=32)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
            ],
        ),
        migrations.RunPython(note_who_is_here, migrations.RunPython.noop),
    ]
