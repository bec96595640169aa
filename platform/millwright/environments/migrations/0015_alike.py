from django.db import migrations, models


class Migration(migrations.Migration):
    """Requests that were asked for in one go are known as one."""

    dependencies = [("environments", "0014_asked_devices")]

    operations = [
        migrations.AddField(
            model_name="request",
            name="alike",
            field=models.UUIDField(
                blank=True, editable=False, null=True, verbose_name="asked for together"
            ),
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(
                condition=models.Q(("alike__isnull", False)), fields=["alike"], name="request_alike"
            ),
        ),
    ]
