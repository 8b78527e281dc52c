from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("jobs", "0001_initial")]

    operations = [
        migrations.AlterModelOptions(
            name="plannedjob",
            options={
                "ordering": ["name"],
                "permissions": [
                    ("operate_jobs", "Can cancel, run, retry and discard jobs, pause and resume queues and plans")
                ],
            },
        ),
    ]
