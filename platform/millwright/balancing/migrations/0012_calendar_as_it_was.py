from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("balancing", "0011_calendar_and_spare_hosts"),
    ]

    operations = [
        migrations.AddField(
            model_name="balancer",
            name="calendar_before",
            field=models.JSONField(default=None, null=True),
        ),
    ]
