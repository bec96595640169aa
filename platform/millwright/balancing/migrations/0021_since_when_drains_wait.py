from django.db import migrations, models


class Migration(migrations.Migration):
    """Since when drains wait, for letters and alerts; the release before leaves it empty."""

    dependencies = (("balancing", "0020_words_as_data"),)

    operations = (
        migrations.AddField("hostdrain", "waiting_since", models.DateTimeField(null=True)),
        migrations.AddField("rollingdrain", "waiting_since", models.DateTimeField(null=True)),
    )
