from django.db import migrations, models


class Migration(migrations.Migration):
    """Memory in the tree of pools. The release before does not name these columns: the database fills them."""

    dependencies = (("balancing", "0018_former_release_writes"),)

    operations = (
        migrations.AddField(
            "resourcepool",
            "memory_reservation_bytes",
            models.PositiveBigIntegerField("reserved memory", default=0, db_default=0),
        ),
        migrations.AddField(
            "resourcepool",
            "memory_limit_bytes",
            models.PositiveBigIntegerField("memory limit", null=True, blank=True),
        ),
        migrations.AddField(
            "resourcepool",
            "memory_shares",
            models.PositiveIntegerField("memory shares", default=1000, db_default=1000),
        ),
    )
