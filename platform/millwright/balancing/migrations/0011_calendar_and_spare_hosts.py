from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("balancing", "0010_pictures_that_fail"),
    ]

    operations = [
        migrations.AddField(
            model_name="balancer",
            name="spare_hosts",
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="balancer",
            name="calendar",
            field=models.JSONField(default=list),
        ),
    ]
