from django.db import migrations, models


class Migration(migrations.Migration):
    """Machines that must run before another one starts again after a host's loss."""

    dependencies = [("environments", "0015_alike")]

    operations = [
        migrations.AddField(
            model_name="machine",
            name="after",
            field=models.ManyToManyField(
                blank=True, related_name="before", to="environments.machine"
            ),
        ),
    ]
