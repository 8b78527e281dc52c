from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("events", "0001_initial")]

    operations = [
        migrations.AlterModelOptions(
            name="deadletter",
            options={
                "permissions": [("operate_events", "Can replay and discard dead letters, pause and resume groups")]
            },
        ),
        migrations.AddField(
            model_name="outboxrow",
            name="group",
            field=models.CharField(db_default="", default="", max_length=64),
        ),
    ]
