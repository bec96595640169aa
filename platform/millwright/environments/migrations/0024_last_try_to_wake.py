from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("environments", "0023_history_of_power"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="operation",
            index=models.Index(
                condition=models.Q(("kind__in", ("sleep_host", "wake_host"))),
                fields=["host", "-created_at"],
                name="operation_power",
            ),
        ),
    ]
