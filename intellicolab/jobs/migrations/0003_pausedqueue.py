from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0002_operating")]

    operations = [
        migrations.CreateModel(
            name="PausedQueue",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("backend", models.CharField(max_length=64)),
                ("queue", models.CharField(max_length=64)),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("backend", "queue"), name="paused_once")],
            },
        ),
    ]
