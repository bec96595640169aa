from django.db import migrations, models


class Migration(migrations.Migration):
    """Of when the newest copy of a controller's retained values is."""

    dependencies = [("environments", "0016_starts_after")]

    operations = [
        migrations.AddField(
            model_name="machine",
            name="retained_as_of",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
