import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("events", "0002_operating")]

    operations = [
        migrations.CreateModel(
            name="Pause",
            fields=[
                ("group", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("by", models.CharField(max_length=255)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
    ]
