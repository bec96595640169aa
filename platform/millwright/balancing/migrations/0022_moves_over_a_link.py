from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("balancing", "0021_since_when_drains_wait"),
    ]

    operations = [
        migrations.AddField(
            model_name="balancer",
            name="link_moves",
            field=models.PositiveSmallIntegerField(db_default=0, default=0),
        ),
    ]
