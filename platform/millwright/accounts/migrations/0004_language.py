from django.db import migrations, models


class Migration(migrations.Migration):
    """The language in which a person reads pages and letters."""

    dependencies = [("accounts", "0003_directory")]

    operations = [
        migrations.AddField(
            "user",
            "language",
            models.CharField("language", max_length=16, blank=True, default=""),
            preserve_default=False,
        ),
    ]
