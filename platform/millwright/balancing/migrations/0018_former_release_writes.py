from django.db import migrations, models


class Migration(migrations.Migration):
    """The release before does not name these columns: while it still runs, the database fills them."""

    dependencies = (("balancing", "0017_numbers_of_rounds"),)

    operations = (
        migrations.AlterField(
            "hostrecovery",
            "initial_values",
            models.JSONField(default=list, db_default=models.Value([], models.JSONField())),
        ),
        migrations.AlterField(
            "recommendation",
            "note",
            models.CharField(max_length=300, blank=True, db_default=""),
        ),
        migrations.AlterField(
            "recommendation", "revision", models.PositiveIntegerField(default=1, db_default=1)
        ),
        migrations.AlterField(
            "recommendation",
            "seen",
            models.JSONField(default=dict, db_default=models.Value({}, models.JSONField())),
        ),
        migrations.AlterField(
            "balancer", "max_moves", models.PositiveSmallIntegerField(default=4, db_default=4)
        ),
        migrations.AlterField(
            "balancer", "sustain_rounds", models.PositiveSmallIntegerField(default=2, db_default=2)
        ),
        migrations.AlterField(
            "balancer", "cooldown_rounds", models.PositiveSmallIntegerField(default=6, db_default=6)
        ),
    )
